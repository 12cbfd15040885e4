"""The feedback of analysts as frames: the newest word on each alert."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.tables import FEEDBACK

CONFIRMED = ("user_id", "first_window_start", "last_window_start")


def newest_feedback(feedback: DataFrame) -> DataFrame:
    """One row per alert, the newest, with the columns of table ``feedback``."""
    newest = F.max_by(F.struct(*FEEDBACK.columns), F.struct("at", "feedback_id"))
    return feedback.groupBy("alert_id").agg(newest.alias("row")).select("row.*")


def confirmed(feedback: DataFrame) -> DataFrame:
    """What feedback confirmed as anomalous: user_id, first_window_start and last_window_start (inclusive)."""
    return newest_feedback(feedback).where(F.col("verdict") == "true").select(*CONFIRMED)
