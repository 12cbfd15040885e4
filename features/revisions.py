"""Revised tables keep every revision; the newest is the valid one."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.tables import Table


def latest(rows: DataFrame, table: Table) -> DataFrame:
    """The newest revision per key of ``table``: the row with the greatest ``(batch_time, batch_id)``."""
    newest = F.max_by(F.struct(*table.columns), F.struct("batch_time", "batch_id"))
    return rows.groupBy(*table.keys).agg(newest.alias("row")).select("row.*")
