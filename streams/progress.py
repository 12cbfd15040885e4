"""How far each streaming query has come: what batch jobs must know to work beside the streams.

A query's checkpoint is the only place that knows which micro-batches are settled. A batch in ``commits`` never runs
again; the one after it may be under way, or may run again after a crash under the same number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from features.errors import BehaviorError
from features.tables import Table
from lake.hadoop_files import HadoopFolder
from lake.log import NO_VERSION, Commit
from lake.spark_tables import Lake
from settings import Settings
from streams.checkpoints import NO_BATCH, Checkpoint
from streams.queries import checkpoint

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Position:
    """Where a query is.

    Attributes:
        query: its name.
        query_id: first part of the ids of its batches.
        started: newest planned batch; ``committed``: newest finished one.
        batch: newest finished batch that ends where a Delta version of its source ends.
        version: after ``batch``, all rows of its source's Delta versions below this one are read.
        time: when ``batch`` was planned.
    """

    query: str
    query_id: str
    started: int
    committed: int
    batch: int = NO_BATCH
    version: int = NO_VERSION
    time: datetime = BEGINNING

    def settled(self, batch_id: Column, until: int | None = None) -> Column:
        """Whether a row's batch is not of this query, or is finished (up to batch ``until``)."""
        own = F.startswith(batch_id, F.lit(f"{self.query_id}:"))
        number = F.substring_index(batch_id, ":", -1).try_cast("bigint")
        return ~own | (number <= (self.committed if until is None else until))


def position(spark: SparkSession, settings: Settings, query: str) -> Position | None:
    """Where ``query`` is; None when it has never started."""
    there = Checkpoint(HadoopFolder(spark, checkpoint(settings, query)))
    query_id = there.query_id
    if query_id is None:
        return None
    planned, done = there.planned(), there.finished()
    known = Position(query, query_id, max(planned, default=NO_BATCH), max(done, default=NO_BATCH))
    for number in sorted(planned.keys() & done.keys(), reverse=True):
        batch = there.batch(number)
        if batch is None or batch.delta_end is None:
            break
        if (version := batch.whole_version) is not None:
            return replace(known, batch=number, version=version, time=batch.time)
    return known


def finished_rows(spark: SparkSession, settings: Settings, query: str) -> Callable[[DataFrame], DataFrame]:
    """Leaves out rows of a micro-batch of ``query`` that is under way now.

    Run again after a kill, a batch looks for its own rows to know what it has written: whoever moves them, blinds it.
    """
    where = position(spark, settings, query)
    return lambda rows: rows if where is None else rows.where(where.settled(F.col("ingest_id")))


def reached(spark: SparkSession, settings: Settings, query: str) -> Position:
    """Where ``query`` is.

    Raises:
        BehaviorError: it has not finished a micro-batch, so there is nothing to compare with or to add to.
    """
    current = position(spark, settings, query)
    if current is None or current.batch == NO_BATCH:
        raise BehaviorError(
            f"Query {query} has not read a whole version of its source yet (checkpoint {checkpoint(settings, query)}). "
            f"Let it catch up first: python -m jobs.{query} --once."
        )
    return current


def appends_since(lake: Lake, table: Table, version: int) -> list[Commit]:
    """Commits of ``table`` from ``version`` on that brought new rows; rewrites and removals are none."""
    return [commit for commit in lake.commits(table, version) if commit.appends]
