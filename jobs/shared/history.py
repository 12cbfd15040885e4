"""Feature rows of the recent past, for gates, drift and previews."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from alerts.feedback import verdicts
from features.revisions import latest
from features.tables import FEATURE_TABLE
from lake.spark_tables import Lake


def recent(lake: Lake, hours: float) -> DataFrame:
    """The newest revisions of the last ``hours`` of event time, up to the newest minute there is."""
    rows = lake.read(FEATURE_TABLE)
    newest = rows.agg(F.max("window_start")).collect()[0][0]
    if newest is None:
        return latest(rows, FEATURE_TABLE)
    start = F.lit(newest).cast("timestamp") - F.expr(f"make_dt_interval(0, 0, {round(hours * 60)})")
    return latest(rows.where(F.col("window_start") > start), FEATURE_TABLE)


def reviewed_alerts(lake: Lake, most: int = 5000) -> DataFrame | None:
    """The feature rows of the newest ``most`` alerts with a verdict, with ``alert_id`` and ``confirmed``.

    None where there is no feedback.
    """
    reviews = verdicts(lake)
    if reviews is None or reviews.isEmpty():
        return None
    newest = reviews.orderBy(F.desc("at"), "alert_id").limit(most)
    alerts = newest.select(
        "alert_id",
        F.col("user_id").alias("_user"),
        (F.col("verdict") == "true").alias("confirmed"),
        F.col("first_window_start").alias("_from"),
        F.col("last_window_start").alias("_to"),
    )
    inside = (F.col("user_id") == F.col("_user")) & F.col("window_start").between(F.col("_from"), F.col("_to"))
    users = alerts.select(F.col("_user").alias("user_id")).distinct()
    rows = latest(lake.read(FEATURE_TABLE).join(users, "user_id", how="left_semi"), FEATURE_TABLE)
    return rows.join(alerts, inside, how="inner").drop("_user", "_from", "_to")
