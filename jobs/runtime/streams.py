"""Streaming queries: identities for exactly-once writes, and the one way a query is started."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming.query import StreamingQuery

from features.errors import DataLossError
from features.tables import Table
from jobs.runtime.lake import Lake
from jobs.runtime.settings import Settings


@dataclass(frozen=True)
class Batch:
    """One micro-batch of one query. A batch that runs again after a crash has the same identity.

    The query id is part of it: it changes when a checkpoint is made anew, so a reset checkpoint
    never looks as if its batches had been written.
    """

    query_id: str
    number: int

    @property
    def id(self) -> str:
        return f"{self.query_id}:{self.number}"

    def append(self, lake: Lake, rows: DataFrame, table: Table, part: str = "") -> None:
        """Append ``rows`` to ``table`` exactly once; ``part`` tells apart two writes to the same table."""
        lake.append(rows, table, app_id=f"{self.query_id}:{table.name}:{part}", version=self.number)


Process = Callable[[DataFrame, Batch], None]


def start(stream: DataFrame, name: str, process: Process, settings: Settings, *, once: bool = False) -> StreamingQuery:
    """Start query ``name``: each micro-batch of ``stream`` goes to ``process`` with its identity.

    ``once`` takes all that is there, in as many micro-batches as the source's limits make, and ends.
    """

    def handle(rows: DataFrame, number: int) -> None:
        query_id = rows.sparkSession.sparkContext.getLocalProperty("sql.streaming.queryId")
        process(rows, Batch(str(query_id), number))

    writer = (
        stream.writeStream.queryName(name).foreachBatch(handle).option("checkpointLocation", checkpoint(settings, name))
    )
    writer = writer.trigger(availableNow=True) if once else writer.trigger(processingTime=settings.stream.trigger)
    return writer.start()


def stamped(rows: DataFrame, batch: Batch) -> DataFrame:
    """Add the columns that say which micro-batch wrote a row."""
    return rows.withColumn("batch_time", F.current_timestamp()).withColumn("batch_id", F.lit(batch.id))


def checkpoint(settings: Settings, name: str) -> str:
    return f"{settings.storage.checkpoints.rstrip('/')}/{name}"


def refuse_lost_checkpoint(spark: SparkSession, lake: Lake, settings: Settings, name: str, table: Table) -> None:
    """Refuse to start ``name`` without its checkpoint beside a filled ``table``: it would read everything again.

    Raises:
        DataLossError: with the folder that is missing and the two ways out.
    """
    folder = checkpoint(settings, name)
    java: Any = spark.sparkContext
    offsets = java._jvm.org.apache.hadoop.fs.Path(f"{folder}/offsets")  # noqa: SLF001
    files = offsets.getFileSystem(java._jsc.hadoopConfiguration())  # noqa: SLF001
    if not files.exists(offsets) and not lake.read(table).isEmpty():
        raise DataLossError(
            f"Query {name!r} has no checkpoint at {folder}, but table {table.name} at {lake.path(table)} holds rows: "
            "reading from the start would double them. Bring it back, or move the table away and start anew."
        )
