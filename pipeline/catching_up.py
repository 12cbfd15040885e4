"""What the one pass still owes: events without tiles, feature rows without scores. Done between two of its batches.

A batch whose look-back or model failed keeps its records all the same; batch jobs append events and feature rows, too.
The logs of the tables say what is owed, so that nothing need be remembered, and a kill forgets nothing.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from time import monotonic

import pyarrow as pa
from pyspark import Broadcast
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.behavior import SessionRules
from features.revisions import latest
from features.tables import EVENTS, FEATURE_ROW, FEATURE_TABLE, SCORES, SHADOW_SCORES, Table
from lake import notes
from lake.log import Commit
from lake.snapshot import first_line
from lake.spark_tables import Lake
from lake.worker_files import TableFiles
from pipeline.build import BUILT_OF, build
from pipeline.links import KnownLinks
from pipeline.workers import Models, score_rows, stamp
from streams.flow import AFTER_INGEST, TOGETHER
from streams.owed import Owed
from streams.queries import Batch, Clock, interruption

log = logging.getLogger(__name__)

AT_ONCE = 500_000
"""Rows that are taken between two batches of the query, which waits meanwhile; of one commit all are."""
PATIENCE_SECONDS = 30.0
"""After a failure nothing is tried for so long."""
NOTE_SECONDS = 60.0
"""How often the position is noted: a start reads the commits since."""


@dataclass
class CatchingUp:
    """Does what is owed.

    Attributes:
        links: which anonymous ids belong to whom.
        folder: where the position is noted.
        models: gives the models in force for a batch; None where there are none.
        listeners: called when scores are there.
        owed: how many appends were owed at the last look.
        troubles: why what is owed by a source could not be done when it was last tried.
    """

    lake: Lake
    rules: SessionRules
    links: KnownLinks
    folder: str
    models: Callable[[str], Broadcast[Models] | None]
    listeners: list[Callable[[], None]] = field(default_factory=list)
    owed: int = field(default=0, init=False)
    _steps: list[Owed] = field(default_factory=list, init=False)
    troubles: dict[str, str] = field(default_factory=dict, init=False)
    _again_at: dict[str, float] = field(default_factory=dict, init=False)
    _noted_at: float = field(default=float("-inf"), init=False)

    def before(self, number: int, query_id: str, clock: Clock) -> None:
        """Take what is owed, or a part of it, before batch ``number`` of the query."""
        events, features = self._of(query_id)
        self._try(events, number, partial(self._fold, events, clock))
        self._try(features, number, partial(self._score, features, clock))
        self.owed = sum(len(step.due(number)) for step in (events, features))
        if monotonic() - self._noted_at > NOTE_SECONDS:
            self.note(number)

    def hurry(self) -> None:
        """Wait no longer after a failure: who ends cannot try again later."""
        self._again_at.clear()

    def note(self, number: int) -> dict[str, list[int]]:
        """Note from where on the logs must be looked at, by source; ``number`` is that of the next batch."""
        since = {step.source.name: step.advanced(number) for step in self._steps}
        note = {name: [at.source, at.result] for name, at in since.items()}
        if note:
            notes.write(self.folder, TOGETHER.note, note)
            self._noted_at = monotonic()
        return note

    def _of(self, query_id: str) -> list[Owed]:
        if not self._steps:
            noted = notes.read(self.folder, TOGETHER.note) or {}
            self._steps = [Owed.of_step(self.lake, step, query_id, noted) for step in AFTER_INGEST]
        return self._steps

    def _try(self, owed: Owed, number: int, take: Callable[[Sequence[Commit]], None]) -> None:
        owed.look()
        due, source = owed.due(number), owed.source.name
        if not due:
            self.troubles.pop(source, None)
        if not due or monotonic() < self._again_at.get(source, float("-inf")):
            return
        try:
            take(_part(due))
        except Exception as error:
            if interruption(str(error)) is not None:
                raise
            self._again_at[source] = monotonic() + PATIENCE_SECONDS
            self.troubles[source] = _reason(error)
            log.warning("%d appends to %s wait: %s", len(due), source, error, exc_info=True)
            return
        owed.look()

    def _fold(self, owed: Owed, clock: Clock, appends: Sequence[Commit]) -> None:
        events = _rows_of(self.lake, EVENTS, "ingest_id", appends).select(*BUILT_OF)
        if events.isEmpty():
            owed.drop(appends)
            return
        # Tiles come last: with them nothing is owed any more.
        build(self.lake, events, self.rules, self.links, _batch(owed, appends, clock), one_after_another)

    def _score(self, owed: Owed, clock: Clock, appends: Sequence[Commit]) -> None:
        """Of the appended rows those that are still the newest of their minute, whose scores would be covered else."""
        batch = _batch(owed, appends, clock)
        models = self.models(batch.id)
        if models is None:
            self.troubles[owed.source.name] = "there is no model that can score them now, the log says why"
            return
        keys = list(FEATURE_TABLE.keys)
        rows = _rows_of(self.lake, FEATURE_TABLE, "batch_id", appends)
        there = self.lake.read(FEATURE_TABLE).join(rows.select(keys).distinct(), keys, "left_semi")
        newest = latest(there, FEATURE_TABLE)
        due = newest.join(rows.select("batch_id").distinct(), "batch_id", "left_semi")
        due = due.select([field.name for field in FEATURE_ROW])
        written = self.lake.written_by_workers(due, (SCORES, SHADOW_SCORES), _scorer(models, batch))
        if not written[SCORES]:
            owed.drop(appends)
            return
        written_tables = [table for table in (SHADOW_SCORES, SCORES) if written[table]]
        one_after_another(*[partial(batch.commit, self.lake, written[table], table) for table in written_tables])
        for call in self.listeners:
            call()


def _reason(error: Exception) -> str:
    """What went wrong, in a line: of an error of a worker, which comes with its traces, what it says itself."""
    said: list[str] = re.findall(r"^\s*(?:\w+\.)*(\w*(?:Error|Exception): .+)$", str(error), re.MULTILINE)
    return said[-1][:300] if said else first_line(error)


def one_after_another(*works: Callable[[], None]) -> None:
    for work in works:
        work()


def _batch(owed: Owed, appends: Sequence[Commit], clock: Clock) -> Batch:
    """A batch of its own, fenced: its rows may be rewritten before it would run again, so they cannot say it was."""
    return Batch(owed.own_id, appends[-1].version, fenced=True, time=clock.of_batch(datetime.now(UTC)))


def _part(due: Sequence[Commit]) -> list[Commit]:
    """The oldest of them, up to :data:`AT_ONCE` rows; one at least."""
    part: list[Commit] = []
    for append in due:
        if part and sum(one.rows for one in part) + append.rows > AT_ONCE:
            break
        part.append(append)
    return part


def _rows_of(lake: Lake, table: Table, writer: str, appends: Sequence[Commit]) -> DataFrame:
    """What is left of the rows that these commits appended to ``table``; column ``writer`` says who wrote a row."""
    ids = pa.table({writer: pa.array(sorted({append.batch or "" for append in appends}))})
    return lake.read(table).join(F.broadcast(lake.spark.createDataFrame(ids)), writer, "left_semi")


def _scorer(
    models: Broadcast[Models], batch: Batch
) -> Callable[[Iterator[pa.RecordBatch], TableFiles, TableFiles], None]:
    stamped = stamp(batch.time, batch.id)

    def write(batches: Iterator[pa.RecordBatch], scores: TableFiles, shadow: TableFiles) -> None:
        for rows in batches:
            score_rows(pa.Table.from_batches([rows]), models.value, stamped, scores, shadow)

    return write
