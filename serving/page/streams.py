"""What each streaming query is doing: its checkpoint says what was planned and finished, tables what was written.

Nothing here asks Spark, so it is true of queries in other processes and after their end, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from features.ledger import Partition
from lake.folders import ArrowFolder, Folder
from lake.location import file_system
from serving.page.words import clock, seconds
from streams.checkpoints import NO_BATCH, Checkpoint
from streams.flow import ALERTING, Stream

State = Literal["working", "waiting", "behind", "stuck", "absent", "unknown"]

STUCK_SECONDS = 120.0
"""A micro-batch that takes longer is reported."""
UNREAD_SECONDS = 60.0
"""Rows that wait longer than this without a micro-batch are reported."""


@dataclass(frozen=True)
class Query:
    """A query, the table whose rows it reads (None: Kafka), and the table that tells its rows.

    ``folder`` is its checkpoint, ``note`` the file in it where one that is no Spark stream keeps its progress.
    """

    name: str
    does: str
    reads: str | None
    writes: str
    folder: str
    note: str | None = None


def _query(stream: Stream) -> Query:
    source, result = stream.reads.name if stream.reads else None, stream.result.name
    note = f"{stream.note}.json" if stream is ALERTING else None
    return Query(stream.query, f"{source or 'Kafka records'} to {result}", source, result, stream.folder, note)


def queries_of(streams: Iterable[Stream]) -> tuple[Query, ...]:
    """The queries as the page shows them, and who raises alerts."""
    return tuple(map(_query, (*streams, ALERTING)))


@dataclass(frozen=True)
class Progress:
    """How far a query has come by its checkpoint. Times are in seconds since 1970.

    ``started`` and ``finished`` are the newest planned and finished micro-batch, -1 for none. ``offsets`` are Kafka's
    next offsets after the newest finished one, per partition.
    """

    started: int
    finished: int
    planned_at: float
    finished_at: float
    offsets: Mapping[int, int]

    @property
    def took(self) -> float | None:
        """Seconds of the newest micro-batch, where it is finished."""
        return max(0.0, self.finished_at - self.planned_at) if self.finished == self.started >= 0 else None


def progress_of(checkpoint: str, note: str | None = None) -> Progress | None:
    """How far the query of this checkpoint folder has come; None when it has never run."""
    folder = ArrowFolder(file_system(checkpoint))
    if note is not None:
        return _progress_noted(folder, note)
    there = Checkpoint(folder)
    planned, done = there.planned(), there.finished()
    if not planned:
        return None
    started, finished = max(planned), max(done, default=NO_BATCH)
    newest = there.batch(started)
    return Progress(
        started,
        finished,
        0.0 if newest is None else newest.time.timestamp(),
        done[finished].timestamp() if done else 0.0,
        _of_one_topic(there.kafka_ends(finished)) if finished in planned else {},
    )


def _progress_noted(folder: Folder, note: str) -> Progress | None:
    """A note is replaced when all that was read is written: there is no batch under way to be seen."""
    at = next((file.modified.timestamp() for file in folder.listing() if file.name == note), None)
    return None if at is None else Progress(NO_BATCH, NO_BATCH, at, at, {})


def _of_one_topic(ends: Mapping[Partition, int]) -> dict[int, int]:
    """By partition; nothing where there are several topics."""
    return {number: offset for (_, number), offset in ends.items()} if len({topic for topic, _ in ends}) == 1 else {}


@dataclass(frozen=True)
class Status:
    """A query as the page shows it: its state, a sentence, and its newest micro-batch."""

    query: Query
    state: State
    detail: str
    batch: int | None = None
    at: float | None = None
    took: float | None = None
    rows: int | None = None


def status_of(
    query: Query,
    progress: Progress | None,
    now: float,
    *,
    local: bool,
    input_at: float | None,
    written: tuple[float, int] | None,
) -> Status:
    """What a query is doing.

    Args:
        local: whether the checkpoints can be read from here.
        input_at: since when rows wait for it at the latest; None where none do.
        written: when it last wrote, and how many rows; None where that is not known.
    """
    at, rows = written or (None, None)
    if not local:
        detail = "Its checkpoint is in an object store: only what it wrote is known."
        return Status(query, "unknown", detail, None, at, None, rows)
    start = f"Start it: make run, or python -m jobs.{query.name}"
    if progress is None:
        return Status(query, "absent", f"Has not run yet. {start}.", None, at, None, rows)
    known = (progress.finished if progress.finished >= 0 else None, progress.finished_at or None, progress.took, rows)
    if progress.started > progress.finished:
        since = now - progress.planned_at
        if since > STUCK_SECONDS:
            detail = f"Batch {progress.started} was begun {seconds(since)} ago and is not finished: its log says why."
            return Status(query, "stuck", f"{detail} If it has ended, {start[0].lower()}{start[1:]}.", *known)
        return Status(query, "working", f"At work on batch {progress.started}", *known)
    if input_at is not None and now - input_at > UNREAD_SECONDS and now - progress.planned_at > UNREAD_SECONDS:
        detail = f"Rows wait since {clock(max(input_at, progress.planned_at))} and nothing takes them."
        return Status(query, "behind", f"{detail} {start}.", *known)
    return Status(query, "waiting" if now - progress.finished_at > 10 else "working", "Takes what comes", *known)
