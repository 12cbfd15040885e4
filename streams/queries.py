"""Streaming queries: identities for exactly-once writes, and the one way a query is started."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from py4j.protocol import Py4JError  # type: ignore[import-untyped]
from pyspark.errors import StreamingQueryException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming.query import StreamingQuery

from features.columns import by_reference
from features.errors import BehaviorError, DataLossError, EnvironmentProblem
from features.tables import Table
from lake import hadoop_files, notes
from lake.hadoop_files import HadoopFolder
from lake.spark_tables import Lake
from settings import Settings
from streams import claims
from streams.checkpoints import NO_BATCH, Checkpoint
from telemetry import metrics

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batch:
    """One micro-batch of one query. A batch that runs again after a crash has the same identity.

    The query id is part of it: it changes when a checkpoint is made anew, so a reset checkpoint
    never looks as if its batches had been written.

    Attributes:
        planned: when it was planned, if it may have been written before: the first one after a start.
        fenced: whether an append must be refused when another driver has made it meanwhile.
        ends: where what it read of its source ends, as the source writes it; empty where that is not known. Kept with
            every commit: the same number with other ends is another batch.
        time: ``batch_time`` of its rows, see :class:`Clock`.
    """

    query_id: str
    number: int
    planned: datetime | None = None
    fenced: bool = False
    ends: str = ""
    time: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def id(self) -> str:
        return f"{self.query_id}:{self.number}"

    def append(self, lake: Lake, rows: DataFrame, table: Table) -> None:
        """Append ``rows`` to ``table`` exactly once; a batch appends to a table once at most.

        Raises:
            DataLossError: the table has a batch of this number that ends elsewhere.
        """
        if self._is_in(lake, table):
            return
        if not lake.append(rows, table, batch_id=self.id, ends=self.ends, fence=self._fence(table)):
            self._compare_ends(lake, table)

    def commit(self, lake: Lake, files: Sequence[str], table: Table) -> None:
        """:meth:`append` for rows that are in ``files`` already, see :mod:`lake.worker_files`."""
        if self._is_in(lake, table):
            return
        if not lake.commit(files, table, batch_id=self.id, ends=self.ends, fence=self._fence(table)):
            self._compare_ends(lake, table)

    def _is_in(self, lake: Lake, table: Table) -> bool:
        if self.planned is None or not lake.holds(table, self.id, self.planned):
            return False
        self._compare_ends(lake, table, forgotten=True)
        log.info("batch %s is in table %s already", self.id, table.name)
        return True

    def _compare_ends(self, lake: Lake, table: Table, *, forgotten: bool = False) -> None:
        """See that the batch of this number in ``table`` is this one; ``forgotten``: its commit may be gone."""
        if not self.ends:
            return
        ends = lake.ends_of(table, self.id)
        if ends in ("", self.ends) or (ends is None and forgotten):
            return
        there = "a later batch" if ends is None else f"a batch of that number that ends at {ends}"
        raise DataLossError(
            f"Batch {self.id} reads until {self.ends}, but table {table.name} has {there}: another driver of the same "
            "query has planned it otherwise. Stop every driver of the query. In its checkpoint the last line of "
            f"offsets/{self.number} must be what the table has; put it there, and start one driver again."
        )

    def _fence(self, table: Table) -> tuple[str, int] | None:
        return (f"{self.query_id}:{table.name}", self.number) if self.fenced else None


ROWS_A_FILE = 50_000
BEGIN = "begin"
"""A note in the folder of a query's checkpoint, see :func:`begin_of`."""
NO_RECORDS = ("KAFKA_DATA_LOSS", "some data may have been missed", "OffsetOutOfRange", "Some data may have been lost")
"""In what Spark says when Kafka does not have what was to be read next."""
NO_BROKER = (
    "node assignment",
    "No resolvable bootstrap",
    "Failed to create new KafkaAdminClient",
    "Timed out waiting",
    "Cannot fetch record",
)
"""In what Spark says when no broker answers."""

Process = Callable[[DataFrame, Batch], None]

TICK = timedelta(milliseconds=1)
"""Between two batches' times at least: room for what is repaired between them (``jobs.shared.recompute``)."""


class Clock:
    """Times of a query's batches: of now, but each later than all before it, even when the machine's clock steps back.

    Of two revisions the one with the later ``batch_time`` is valid, so a clock that is set must not decide which.

    Args:
        newest: no time up to this one is given.
    """

    def __init__(self, newest: datetime | None = None) -> None:
        self._newest = newest or datetime.fromtimestamp(0, UTC)

    def of_batch(self, planned: datetime) -> datetime:
        """A time for a batch that was ``planned`` then: it is looked for from there on when it runs again."""
        self._newest = max(datetime.now(UTC), planned, self._newest + TICK)
        return self._newest


Around = Callable[[int, str], AbstractContextManager[None]]
"""A context for a batch, by its number and its query's id."""


@dataclass(frozen=True)
class Plan:
    """When a micro-batch was planned, and where what it reads ends."""

    time: datetime
    ends: str


def plan_of(spark: SparkSession, query_id: str, folder: str, number: int) -> Plan:
    """The plan that the running batch goes by.

    Asked of the query itself, which ``spark`` must have started: the file in the checkpoint ``folder`` may be another
    driver's by now. Where Spark's own classes cannot be asked, the file has to do.
    """
    streams: Any = spark._jsparkSession.streams()  # noqa: SLF001
    try:
        running = streams.get(query_id).streamingQuery().getLatestExecutionContext()
        ends = running.endOffsets().valuesIterator()
        offsets = []
        while ends.hasNext():
            offsets.append(str(ends.next().json()))
        planned = datetime.fromtimestamp(running.offsetSeqMetadata().batchTimestampMs() / 1000, UTC)
    except Py4JError:
        log.debug("the plan of batch %s is taken from the checkpoint", number, exc_info=True)
        batch = Checkpoint(HadoopFolder(spark, folder)).batch(number)
        assert batch is not None, f"batch {number} runs and is not in {folder}"
        return Plan(batch.time, " ".join(batch.ends))
    return Plan(planned, " ".join(offsets))


def start(
    stream: DataFrame,
    name: str,
    process: Process,
    settings: Settings,
    *,
    once: bool = False,
    trigger: str | None = None,
    newest: datetime | None = None,
    kept_as: str | None = None,
    clock: Clock | None = None,
    around: Around = lambda _number, _query_id: nullcontext(),
) -> StreamingQuery:
    """Start query ``name``: each micro-batch of ``stream`` goes to ``process`` with its identity.

    ``once`` takes all that is there, in as many micro-batches as the source's limits make, and ends. ``trigger``, where
    given, takes the place of ``stream.trigger``. ``newest`` is the newest ``batch_time`` in the tables that the query
    writes. ``kept_as`` names its checkpoint, where that is not of its name. Who has batches of his own between those of
    the query gives a ``clock`` for both, and is asked ``around`` each batch.
    """

    folder = checkpoint(settings, kept_as or name)
    if not settings.stream.fenced:
        claims.claim(folder)
    metrics.serve(stream.sparkSession, settings.metrics)
    is_first = True
    times = clock or clock_of(stream.sparkSession, settings, kept_as or name, newest)

    def handle(rows: DataFrame, number: int) -> None:
        nonlocal is_first
        query_id = str(rows.sparkSession.sparkContext.getLocalProperty("sql.streaming.queryId"))
        plan = plan_of(stream.sparkSession, query_id, folder, number)
        try:
            with around(number, query_id):
                planned, time = plan.time if is_first else None, times.of_batch(plan.time)
                process(rows, Batch(query_id, number, planned, settings.stream.fenced, plan.ends, time))
        except Exception as error:
            if (cause := interruption(str(error))) is None:
                raise
            log.info("batch %s of %s was interrupted", number, name, exc_info=True)
            raise Interrupted(cause) from None
        is_first = False

    writer = stream.writeStream.queryName(name).foreachBatch(handle).option("checkpointLocation", folder)
    pause = trigger or settings.stream.trigger
    return (writer.trigger(availableNow=True) if once else writer.trigger(processingTime=pause)).start()


def clock_of(spark: SparkSession, settings: Settings, name: str, newest: datetime | None) -> Clock:
    """The clock of query ``name``, with ``newest`` as :func:`start` has it."""
    planned = _last_planned(spark, checkpoint(settings, name))
    return Clock(max((time for time in (newest, planned) if time), default=None))


def _last_planned(spark: SparkSession, folder: str) -> datetime | None:
    """When the newest batch in the checkpoint ``folder`` was planned."""
    there = Checkpoint(HadoopFolder(spark, folder))
    newest = there.batch(max(there.planned(), default=NO_BATCH))
    return None if newest is None else newest.time


class Interrupted(Exception):
    """A batch was cut off because its query is being stopped.

    Spark tells that from the text, with a pattern that needs a level of its stack for each character: Python's own
    message, which has all of Java's trace in it, ends in a StackOverflowError on the terminal.
    """

    def __init__(self, cause: str) -> None:
        super().__init__(f"py4j.protocol.Py4JJavaError: An error occurred while calling a batch: {cause}")


INTERRUPTIONS = (
    "java.lang.InterruptedException",
    "java.io.InterruptedIOException",
    "java.nio.channels.ClosedByInterruptException",
)


def interruption(text: str) -> str | None:
    """Java's name for what cut a batch off; None where something else went wrong."""
    was_cancelled = "org.apache.spark.SparkException" in text and "cancelled" in text
    return next((name for name in INTERRUPTIONS if name in text), INTERRUPTIONS[0] if was_cancelled else None)


def finish(query: StreamingQuery, settings: Settings, explain: Callable[[], None] = lambda: None) -> None:
    """Wait until ``query`` ends.

    ``explain`` is called where Kafka lacks what was to be read next: it may raise an error that knows more.

    Raises:
        BehaviorError: it failed, in a sentence; the trace is in Spark's log.
    """
    try:
        query.awaitTermination()
    except StreamingQueryException as error:
        if any(sign in str(error) for sign in NO_RECORDS):
            explain()
        raise failure_of(error, settings) from None
    finally:
        claims.let_go(checkpoint(settings, str(query.name)))


def failure_of(error: StreamingQueryException, settings: Settings) -> BehaviorError:
    """Why a query failed, in a sentence."""
    text = str(error)
    ours = re.findall(r"features\.errors\.\w+: (.+)", text)
    if ours:
        return BehaviorError(ours[-1])
    if any(sign in text for sign in NO_BROKER):
        return EnvironmentProblem(
            f"No Kafka broker answers at {settings.kafka.bootstrap_servers}: see that it runs there "
            "(kafka.bootstrap_servers) and that kafka.security_protocol and the settings below it fit its listener. "
            "Nothing is lost: start again."
        )
    if any(sign in text for sign in NO_RECORDS):
        return DataLossError(
            "Kafka no longer has offsets that were to be read next. Start ingest_events again: it says which ones, and "
            "what to do."
        )
    cause = text.rsplit("terminated with exception:", maxsplit=1)[-1].strip().splitlines()[0]
    return BehaviorError(f"A stream failed: {cause[:500]} Its trace is in Spark's log; started again it goes on.")


def side_by_side(*works: Callable[[], None]) -> None:
    """Do independent writes at the same time; the first error among them is raised when all have ended."""
    with ThreadPoolExecutor(max_workers=len(works)) as pool:
        for done in [pool.submit(work) for work in works]:
            done.result()


def in_few_files(rows: DataFrame, count: int) -> DataFrame:
    """``rows``, about ``count`` of them, in no more partitions than their number is worth: each becomes a file."""
    return rows.coalesce(1 + count // ROWS_A_FILE)


def stamped(rows: DataFrame, batch: Batch) -> DataFrame:
    """Add the columns that say which micro-batch wrote a row."""
    time = by_reference(F.lit(batch.time), F.length("user_id"))
    return rows.withColumn("batch_time", time).withColumn("batch_id", F.lit(batch.id))


def checkpoint(settings: Settings, name: str) -> str:
    return f"{settings.storage.checkpoints.rstrip('/')}/{name}"


def begin_of(settings: Settings, name: str) -> int | None:
    """From which version of its table on query ``name`` reads where it takes the place of a step of the one pass."""
    note = notes.read(checkpoint(settings, name), BEGIN)
    return None if note is None else int(note["version"])


def refuse_lost_checkpoint(spark: SparkSession, lake: Lake, settings: Settings, name: str, *tables: Table) -> None:
    """Refuse to start ``name`` without its checkpoint beside a filled one of ``tables``: it would read all again.

    Raises:
        DataLossError: with the folder that is missing and the two ways out.
    """
    folder = checkpoint(settings, name)
    if hadoop_files.exists(spark, f"{folder}/offsets") or begin_of(settings, name) is not None:
        return
    for table in tables:
        if not (lake.is_new(table) or lake.read(table).isEmpty()):
            raise DataLossError(
                f"Query {name!r} has no checkpoint at {folder}, but table {table.name} at {lake.path(table)} holds "
                "rows: reading from the start would double them. Bring it back, or move the table away and start anew."
            )
