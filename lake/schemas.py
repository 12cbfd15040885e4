"""The tables' declared columns as Arrow has them, and their properties."""

from __future__ import annotations

import pyarrow as pa
from pyspark.sql.pandas.types import to_arrow_schema

from features.tables import Table

LOOKED_UP = {
    # A batch opens every file of the last hours: without this, one more per batch until maintenance comes.
    "delta.autoOptimize.autoCompact": "true",
    # Delta lists the whole log at every look. Nobody streams from such a table, so old commits serve nobody.
    "delta.logRetentionDuration": "interval 1 day",
    "delta.deletedFileRetentionDuration": "interval 1 day",  # Delta wants it no longer than the log's
}


def arrow_schema(table: Table) -> pa.Schema:
    """The table's columns in Arrow's types; times are in microseconds, in UTC."""
    return to_arrow_schema(table.schema, timezone="UTC")


def properties(table: Table) -> dict[str, str]:
    """Delta's properties that the table is made with."""
    return {
        # Only keys and times are pruned by; statistics of thirty numbers per file would cost more than a write.
        "delta.dataSkippingStatsColumns": ",".join(table.statistics),
        "delta.checkpointInterval": "20",
        **(LOOKED_UP if table.looked_up else {}),
    }
