"""What each streaming query is doing: its checkpoint says what was planned and finished, tables what was written.

Nothing here asks Spark, so it is true of queries in other processes and after their end, too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from serving.page.words import clock, plural, seconds

State = Literal["working", "waiting", "behind", "stuck", "absent", "unknown"]

NO_BATCH = -1

STUCK_SECONDS = 120.0
"""A micro-batch that takes longer is told."""
UNREAD_SECONDS = 60.0
"""Rows that wait longer than this without a micro-batch are told."""


@dataclass(frozen=True)
class Query:
    """A query, the table whose rows it reads (None: Kafka), and the table that tells its rows.

    ``note`` is the file in which one that is no Spark stream keeps its place.
    """

    name: str
    does: str
    reads: str | None
    writes: str
    note: str | None = None


QUERIES = (
    Query("ingest_events", "Kafka records to events", None, "events"),
    Query("build_features", "events to features", "events", "features"),
    Query("score_features", "features to scores", "features", "scores"),
    Query("raise_alerts", "scores to alerts", "scores", "alerts", note="scores.json"),
)


@dataclass(frozen=True)
class Place:
    """Where a query is by its checkpoint. Times are in seconds since 1970.

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


def place_of(checkpoint: str, note: str | None = None) -> Place | None:
    """Where the query of this checkpoint folder is; None when it has never run."""
    folder = Path(checkpoint)
    if note is not None:
        return _place_noted(folder / note)
    planned = _numbers(folder / "offsets")
    if not planned:
        return None
    done = _numbers(folder / "commits")
    started, finished = max(planned), max(done, default=NO_BATCH)
    kafka = _kafka_offsets(_lines(folder / "offsets" / str(finished))) if finished in planned else {}
    planned_at = _planned_at(_lines(folder / "offsets" / str(started)))
    return Place(started, finished, planned_at, done.get(finished, 0.0), kafka)


def _place_noted(note: Path) -> Place | None:
    """A note is replaced when all that was read is written: there is no batch under way to be seen."""
    try:
        at = note.stat().st_mtime
    except OSError:
        return None
    return Place(NO_BATCH, NO_BATCH, at, at, {})


def _numbers(folder: Path) -> dict[int, float]:
    """The numbered files of a folder, with when they were written."""
    try:
        with os.scandir(folder) as found:
            return {int(file.name): file.stat().st_mtime for file in found if file.name.isdigit()}
    except OSError:
        return {}


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def _planned_at(lines: list[str]) -> float:
    return float(json.loads(lines[1])["batchTimestampMs"]) / 1000 if len(lines) > 1 else 0.0


def _kafka_offsets(lines: list[str]) -> dict[int, int]:
    for line in lines[2:]:
        found = json.loads(line) if line.startswith("{") else {}
        if isinstance(found, dict) and len(found) == 1 and isinstance(places := next(iter(found.values())), dict):
            return {int(number): int(offset) for number, offset in places.items()}
    return {}


@dataclass(frozen=True)
class Status:
    """A query as the page shows it: its state, a sentence, and its newest micro-batch."""

    query: Query
    state: State
    told: str
    batch: int | None = None
    at: float | None = None
    took: float | None = None
    rows: int | None = None


def status_of(
    query: Query,
    place: Place | None,
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
        told = "Its checkpoint is in an object store: only what it wrote is known."
        return Status(query, "unknown", told, None, at, None, rows)
    start = f"Start it: make run, or python -m jobs.{query.name}"
    if place is None:
        return Status(query, "absent", f"Has not run yet. {start}.", None, at, None, rows)
    known = (place.finished if place.finished >= 0 else None, place.finished_at or None, place.took, rows)
    if place.started > place.finished:
        since = now - place.planned_at
        if since > STUCK_SECONDS:
            told = f"Batch {place.started} was begun {seconds(since)} ago and is not finished: its log says why."
            return Status(query, "stuck", f"{told} If it has ended, {start[0].lower()}{start[1:]}.", *known)
        return Status(query, "working", f"At work on batch {place.started}", *known)
    if input_at is not None and now - input_at > UNREAD_SECONDS and now - place.planned_at > UNREAD_SECONDS:
        told = f"Rows wait since {clock(max(input_at, place.planned_at))} and nothing takes them."
        return Status(query, "behind", f"{told} {start}.", *known)
    return Status(query, "waiting" if now - place.finished_at > 10 else "working", "Takes what comes", *known)


def told_of_lag(lag: Mapping[int, int]) -> str:
    """ "12 records in 4 partitions: 3, 0, 9, 0" """
    each = ", ".join(f"{count:,}" for _, count in sorted(lag.items()))
    return f"{plural(sum(lag.values()), 'record')} in {plural(len(lag), 'partition')}: {each}"
