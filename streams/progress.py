"""How far each streaming query has come: what batch jobs must know to work beside the streams.

A query's checkpoint is the only place that knows which micro-batches are settled. A batch in ``commits`` never runs
again; the one after it may be under way, or may run again after a crash under the same number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from features.errors import BehaviorError
from features.tables import Table
from lake.hadoop_files import HadoopFolder
from lake.log import NO_VERSION, Commit
from lake.spark_tables import Lake
from settings import Settings
from streams.checkpoints import NO_BATCH, Checkpoint
from streams.flow import AFTER_INGEST, INGEST, TOGETHER, Stream, noted
from streams.owed import Owed, Taken, number_of
from streams.queries import begin_of, checkpoint

STEPS = {step.query: step for step in AFTER_INGEST}
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Position:
    """Where a query is.

    Attributes:
        query: its name.
        query_id: first part of the ids of its batches; empty before its first start.
        started: newest planned batch; ``committed``: newest finished one.
        batch: newest finished batch that ends where a Delta version of its source ends.
        version: after ``batch``, all rows of its source's Delta versions below this one are read. Before the first
            batch of one that takes the place of a step of the one pass: from where on it will read.
        time: when ``batch`` was planned.
        taken: of a step of the one pass, what it has taken from ``version`` on.
    """

    query: str
    query_id: str
    started: int
    committed: int
    batch: int = NO_BATCH
    version: int = NO_VERSION
    time: datetime = BEGINNING
    taken: Taken | None = None

    def settled(self, batch_id: Column, until: int | None = None) -> Column:
        """Whether a row's batch is not of this query, or is finished (up to batch ``until``)."""
        own = F.startswith(batch_id, F.lit(f"{self.query_id}:"))
        number = F.substring_index(batch_id, ":", -1).try_cast("bigint")
        is_settled = ~own | (number <= (self.committed if until is None else until))
        if self.taken is None:
            return is_settled
        owed = F.startswith(batch_id, F.lit(f"{self.query_id}/"))
        return is_settled & (~owed | (number <= self.taken.until))

    def has_taken(self, append: Commit) -> bool:
        """Whether it has read what was appended to its source."""
        if self.taken is None:
            return append.version < self.version
        number = number_of(append.batch, self.query_id)
        return (number is None or number <= self.batch) and self.taken.has(append)


def position(spark: SparkSession, settings: Settings, query: str) -> Position | None:
    """Where ``query`` is; None when it has never started."""
    if query in STEPS and (note := noted(settings)) is not None:
        return _of_step(spark, settings, STEPS[query], note)
    there = Checkpoint(HadoopFolder(spark, checkpoint(settings, query)))
    query_id, begin = there.query_id, begin_of(settings, query)
    if query_id is None and begin is None:
        return None
    planned, done = there.planned(), there.finished()
    known = Position(
        query,
        query_id or "",
        max(planned, default=NO_BATCH),
        max(done, default=NO_BATCH),
        version=NO_VERSION if begin is None else begin,
    )
    for number in sorted(planned.keys() & done.keys(), reverse=True):
        batch = there.batch(number)
        if batch is None or batch.delta_end is None:
            break
        if (version := batch.whole_version) is not None:
            return replace(known, batch=number, version=version, time=batch.time)
    return known


def refuse_apart(lake: Lake, settings: Settings) -> None:
    """Refuse to start the one pass where the three queries have come, since it would do all of it again.

    Raises:
        BehaviorError: with the tables that they have filled.
    """
    if noted(settings) is None:
        filled = [step.result.name for step in STEPS.values() if not lake.is_new(step.result)]
        if filled:
            raise BehaviorError(
                f"Tables {', '.join(filled)} are filled by build_features and score_features, each on a checkpoint of "
                f"its own, and there is no note at {checkpoint(settings, TOGETHER.query)} that {TOGETHER.query} has "
                "taken their place: it would fold and score everything again. Let it take their positions over first: "
                "python -m jobs.change_flow --to one-pass."
            )


def refuse_together(settings: Settings, query: str) -> None:
    """Refuse to start a query whose step the one pass does.

    Raises:
        BehaviorError: it does.
    """
    if noted(settings) is not None:
        raise BehaviorError(
            f"Query {query} is a step of {TOGETHER.query} here ({checkpoint(settings, TOGETHER.query)} says how far it "
            "is): both would do the same work twice."
        )


def _of_step(spark: SparkSession, settings: Settings, step: Stream, note: Mapping[str, Any]) -> Position | None:
    """Where a step of the one pass is."""
    there = Checkpoint(HadoopFolder(spark, checkpoint(settings, INGEST.query)))
    query_id = there.query_id
    if query_id is None:
        return None
    planned, done = there.planned(), there.finished()
    newest = max(done, default=NO_BATCH)
    batch = there.batch(newest)
    owed = Owed.of_step(Lake(spark, settings.storage.root), step, query_id, note)
    owed.look()
    time = BEGINNING if batch is None else batch.time
    started = max(planned, default=NO_BATCH)
    return Position(step.query, query_id, started, newest, newest, owed.since.source, time, owed.taken)


def unread(lake: Lake, table: Table, where: Position) -> list[Commit]:
    """Appends to ``table`` that the query at ``where``, which reads it, had not taken then."""
    return [append for append in appends_since(lake, table, max(where.version, 0)) if not where.has_taken(append)]


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
    if current is None or current.version == NO_VERSION:
        runs = query if noted(settings) is None else INGEST.query
        raise BehaviorError(
            f"Query {query} has not read a whole version of its source yet (checkpoint {checkpoint(settings, runs)}). "
            f"Let it catch up first: python -m jobs.{runs} --once."
        )
    return current


def appends_since(lake: Lake, table: Table, version: int) -> list[Commit]:
    """Commits of ``table`` from ``version`` on that brought new rows; rewrites and removals are none."""
    return [commit for commit in lake.commits(table, version) if commit.appends]
