"""What analysts found out about alerts, for training, gates and thresholds."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.tables import FEEDBACK
from jobs.runtime.lake import Lake


def verdicts(lake: Lake) -> DataFrame | None:
    """The newest feedback of each alert; None where there is no such table yet."""
    if not lake.exists(FEEDBACK):
        return None
    newest = F.max_by(F.struct(*FEEDBACK.columns), F.struct("at", "feedback_id"))
    return lake.read(FEEDBACK).groupBy("alert_id").agg(newest.alias("row")).select("row.*")


def confirmed(lake: Lake) -> DataFrame | None:
    """What is anomalous indeed: user_id, first_window_start and last_window_start (inclusive) of such alerts."""
    newest = verdicts(lake)
    if newest is None:
        return None
    return newest.where(F.col("verdict") == "true").select("user_id", "first_window_start", "last_window_start")
