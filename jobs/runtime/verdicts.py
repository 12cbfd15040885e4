"""What analysts found out about alerts, for training, gates and thresholds; nothing where there is no table yet."""

from __future__ import annotations

from pyspark.sql import DataFrame

from features import feedback
from features.tables import FEEDBACK
from jobs.runtime.lake import Lake


def verdicts(lake: Lake) -> DataFrame | None:
    """The newest feedback of each alert."""
    return feedback.newest_feedback(lake.read(FEEDBACK)) if lake.exists(FEEDBACK) else None


def confirmed(lake: Lake) -> DataFrame | None:
    """What is anomalous indeed: user_id, first_window_start and last_window_start (inclusive) of such alerts."""
    return feedback.confirmed(lake.read(FEEDBACK)) if lake.exists(FEEDBACK) else None
