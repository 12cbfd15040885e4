"""Revised tables keep every revision; the newest is the valid one."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.tables import Table


def latest(rows: DataFrame, table: Table) -> DataFrame:
    """The newest revision per key of ``table``: the row with the greatest ``(batch_time, batch_id)``.

    Of the table's columns those that ``rows`` has: who needs a few selects them before, for they are all held at once.
    """
    held = [name for name in table.columns if name in rows.columns]
    newest = F.max_by(F.struct(*held), F.struct("batch_time", "batch_id"))
    return rows.groupBy(*table.keys).agg(newest.alias("row")).select("row.*")


def latest_in_arrow(rows: pa.Table, table: Table) -> pa.Table:
    """:func:`latest` for readers without Spark: the same rows, in the order in which they were written."""
    written = rows.take(pc.sort_indices(rows, [("batch_time", "ascending"), ("batch_id", "ascending")]))
    numbered = written.select(list(table.keys)).append_column("row", pa.array(np.arange(written.num_rows)))
    newest = numbered.group_by(list(table.keys)).aggregate([("row", "max")])["row_max"]
    return written.take(newest.combine_chunks().sort())
