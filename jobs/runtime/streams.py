"""Streaming queries: identities for exactly-once writes, and the one way a query is started."""

from __future__ import annotations

import fcntl
import logging
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TextIO

from pyspark.errors import StreamingQueryException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming.query import StreamingQuery

from features.columns import by_reference
from features.errors import BehaviorError, ConfigurationError, DataLossError, EnvironmentProblem
from features.tables import Table
from jobs.runtime import files, metrics
from jobs.runtime.lake import Lake
from jobs.runtime.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batch:
    """One micro-batch of one query. A batch that runs again after a crash has the same identity.

    The query id is part of it: it changes when a checkpoint is made anew, so a reset checkpoint
    never looks as if its batches had been written.

    Attributes:
        planned: when it was planned, if it may have been written before: the first one after a start.
        fenced: whether an append must be refused when another driver has made it meanwhile.
    """

    query_id: str
    number: int
    planned: datetime | None = None
    fenced: bool = False

    @property
    def id(self) -> str:
        return f"{self.query_id}:{self.number}"

    def append(self, lake: Lake, rows: DataFrame, table: Table) -> None:
        """Append ``rows`` to ``table`` exactly once; a batch appends to a table once at most."""
        if not self._is_in(lake, table):
            lake.append(rows, table, batch_id=self.id, fence=self._fence(table))

    def commit(self, lake: Lake, files: Sequence[str], table: Table) -> None:
        """:meth:`append` for rows that are in ``files`` already, see :mod:`jobs.runtime.table_files`."""
        if not self._is_in(lake, table):
            lake.commit(files, table, batch_id=self.id, fence=self._fence(table))

    def _is_in(self, lake: Lake, table: Table) -> bool:
        if self.planned is None or not lake.holds(table, self.id, self.planned):
            return False
        log.info("batch %s is in table %s already", self.id, table.name)
        return True

    def _fence(self, table: Table) -> tuple[str, int] | None:
        return (f"{self.query_id}:{table.name}", self.number) if self.fenced else None


ROWS_A_FILE = 50_000
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


def start(
    stream: DataFrame,
    name: str,
    process: Process,
    settings: Settings,
    *,
    once: bool = False,
    trigger: str | None = None,
) -> StreamingQuery:
    """Start query ``name``: each micro-batch of ``stream`` goes to ``process`` with its identity.

    ``once`` takes all that is there, in as many micro-batches as the source's limits make, and ends. ``trigger``, where
    given, takes the place of ``stream.trigger``.
    """

    folder = checkpoint(settings, name)
    if not settings.stream.fenced:
        claim(folder)
    metrics.serve(stream.sparkSession, settings.metrics)
    is_first = True

    def handle(rows: DataFrame, number: int) -> None:
        nonlocal is_first
        query_id = str(rows.sparkSession.sparkContext.getLocalProperty("sql.streaming.queryId"))
        planned = files.planned_at(rows.sparkSession, folder, number) if is_first else None
        try:
            process(rows, Batch(query_id, number, planned, settings.stream.fenced))
        except Exception as error:
            if (cause := _interruption(str(error))) is None:
                raise
            log.info("batch %s of %s was interrupted", number, name, exc_info=True)
            raise Interrupted(cause) from None
        is_first = False

    writer = stream.writeStream.queryName(name).foreachBatch(handle).option("checkpointLocation", folder)
    pause = trigger or settings.stream.trigger
    return (writer.trigger(availableNow=True) if once else writer.trigger(processingTime=pause)).start()


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


def _interruption(text: str) -> str | None:
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
        let_go(checkpoint(settings, str(query.name)))


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


def claim(folder: str) -> None:
    """Keep other processes of this machine away from the checkpoint ``folder`` until this one ends, however it ends.

    Raises:
        ConfigurationError: the folder is not one of this machine's.
        BehaviorError: another process runs the query.
    """
    if "://" in folder:
        raise ConfigurationError(
            f"stream.fenced is false and a checkpoint is at {folder}: without the fence two drivers could write "
            "the same batch. Set stream.fenced to true, or keep checkpoints in a folder of this machine."
        )
    path = Path(f"{folder}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    let_go(folder)
    file = path.open("w", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise BehaviorError(
            f"Query {path.stem!r} is being run by another process (it holds {path}). Stop that one first."
        ) from None
    _CLAIMED[folder] = file


def claimed(folder: str) -> bool:
    """Whether a process, this one included, has claimed ``folder``; of a folder elsewhere it cannot be told: True."""
    if "://" in folder or folder in _CLAIMED:
        return True
    try:
        with Path(f"{folder}.lock").open(encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def let_go(folder: str) -> None:
    """Give up the claim of this process to ``folder``, if it has one: the query has ended, and others may run it."""
    if folder in _CLAIMED:
        _CLAIMED.pop(folder).close()


_CLAIMED: dict[str, TextIO] = {}


def stamped(rows: DataFrame, batch: Batch) -> DataFrame:
    """Add the columns that say which micro-batch wrote a row."""
    now = by_reference(F.current_timestamp(), F.length("user_id"))
    return rows.withColumn("batch_time", now).withColumn("batch_id", F.lit(batch.id))


def checkpoint(settings: Settings, name: str) -> str:
    return f"{settings.storage.checkpoints.rstrip('/')}/{name}"


def refuse_lost_checkpoint(spark: SparkSession, lake: Lake, settings: Settings, name: str, *tables: Table) -> None:
    """Refuse to start ``name`` without its checkpoint beside a filled one of ``tables``: it would read all again.

    Raises:
        DataLossError: with the folder that is missing and the two ways out.
    """
    folder = checkpoint(settings, name)
    if files.exists(spark, f"{folder}/offsets"):
        return
    for table in tables:
        if not (lake.is_new(table) or lake.read(table).isEmpty()):
            raise DataLossError(
                f"Query {name!r} has no checkpoint at {folder}, but table {table.name} at {lake.path(table)} holds "
                "rows: reading from the start would double them. Bring it back, or move the table away and start anew."
            )
