"""Scored rows to their tables: one micro-batch."""

from __future__ import annotations

from functools import partial

from pyspark import StorageLevel
from pyspark.sql import DataFrame

from features.tables import SCORES, SHADOW_SCORES
from lake.spark_tables import Lake
from scoring.frames import SHADOW, shadow_rows
from streams import queries


def append(lake: Lake, rows: DataFrame, batch: queries.Batch, *, has_shadow: bool) -> None:
    """Append scored rows, each once: the champion's to ``scores`` and, where there is one, the challenger's beside.

    The rows are scored once for both. The two appends are independent: a crash between them is mended when the batch
    runs again.
    """
    if not has_shadow:
        batch.append(lake, queries.stamped(rows, batch), SCORES)
        return
    rows = rows.persist(StorageLevel.MEMORY_AND_DISK)
    try:
        queries.side_by_side(
            partial(batch.append, lake, queries.stamped(rows.drop(SHADOW), batch), SCORES),
            partial(batch.append, lake, queries.stamped(shadow_rows(rows), batch), SHADOW_SCORES),
        )
    finally:
        rows.unpersist()
