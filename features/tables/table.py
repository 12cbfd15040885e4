"""What a table is: schema, key and clustering."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql.types import (
    DataType,
    StringType,
    StructField,
    StructType,
    TimestampType,
)

UNCOUNTED = ("page", "user_id", "anonymous_id")
"""Columns without statistics, see :attr:`Table.statistics`."""


def column(name: str, kind: DataType, comment: str, *, required: bool = False) -> StructField:
    """One column with its meaning; the comment is stored in Delta and printed in the reference."""
    return StructField(name, kind, nullable=not required, metadata={"comment": comment})


@dataclass(frozen=True)
class Table:
    """A Delta table.

    ``keys`` identify a row (for revised tables: a row's subject), ``cluster_by`` is the order
    in which ``maintain_tables`` lays files out, ``time`` is the column that time ranges prune by.
    """

    name: str
    about: str
    schema: StructType
    keys: tuple[str, ...]
    cluster_by: tuple[str, ...]
    time: str
    revised: bool = False
    looked_up: bool = False
    """Read back at every micro-batch: appends keep its small files few, and its log is short."""
    on_demand: bool = False
    """Made by the batch job that fills it, not when a run starts: readers find no table until then."""

    @property
    def statistics(self) -> tuple[str, ...]:
        """Columns whose least and greatest value per file Delta keeps, so that reads can skip files.

        Pages would be large. Ids of people would stay in the log, where no erasure reaches them; the files themselves
        have them in their footers, so a read of one user still skips most of a file that is laid out by user.
        """
        named = (*self.keys, *self.cluster_by, self.time, "ingested_at", "batch_time")
        return tuple(dict.fromkeys(name for name in named if name in self.columns and name not in UNCOUNTED))

    @property
    def columns(self) -> list[str]:
        return self.schema.fieldNames()


BATCH = [
    column("batch_time", TimestampType(), "start of the micro-batch that wrote the row", required=True),
    column("batch_id", StringType(), "query id and micro-batch that wrote the row", required=True),
]
