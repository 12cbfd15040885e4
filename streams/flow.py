"""Which query reads and writes which tables, in the order in which data passes through them.

The one list of queries: ``make run`` starts them by it, the page shows them, maintenance, erasure and recomputing jobs
go by it. A new one is named here, and is a job of that name with a function ``start``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from features.tables import (
    ALERTS,
    EVENTS,
    FEATURE_TABLE,
    IDENTITIES,
    REJECTED_EVENTS,
    RISK,
    SCORES,
    SHADOW_SCORES,
    TABLES,
    TILES,
    Table,
)
from lake import notes
from settings import Settings


@dataclass(frozen=True)
class Stream:
    """A query by its name.

    Attributes:
        reads: the table it reads as a stream; None: Kafka.
        writes: the tables its batches append to; ``result`` is the one whose rows show how far it is.
        last: of these the one that a batch of the one pass commits last: what has no commit there is owed.
        note: for one that is no Spark stream, the note beside its checkpoint that says how far it has read; of the one
            pass, what it owes.
        checkpoint: its folder, where that is not of its name.
    """

    query: str
    reads: Table | None
    writes: tuple[Table, ...]
    result: Table
    last: Table
    note: str = ""
    checkpoint: str = ""

    @property
    def folder(self) -> str:
        return self.checkpoint or self.query


INGEST = Stream("ingest_events", None, (EVENTS, REJECTED_EVENTS), EVENTS, EVENTS)
FEATURES = Stream("build_features", EVENTS, (TILES, FEATURE_TABLE, IDENTITIES), FEATURE_TABLE, TILES)
SCORING = Stream("score_features", FEATURE_TABLE, (SCORES, SHADOW_SCORES), SCORES, SCORES)
ALERTING = Stream("raise_alerts", SCORES, (ALERTS, RISK), ALERTS, ALERTS, note="scores")

TOGETHER = Stream(
    "run_pipeline", None, (*INGEST.writes, *FEATURES.writes, *SCORING.writes), SCORES, TILES, "owed", INGEST.query
)
"""The one pass, which does what the three do. It reads Kafka by the checkpoint of ``INGEST``: one of both runs."""

AFTER_INGEST = (FEATURES, SCORING)
"""What may wait, or be done by other queries, while events come in."""
FLOW = (INGEST, *AFTER_INGEST)
"""The queries of Spark, or the steps of the one pass.

``ALERTING`` is none: it starts over when rows of ``scores`` are deleted.
"""


def writer_of(table: Table) -> str | None:
    """The query whose batches append to ``table``; None where only batch jobs and people write."""
    return next((stream.query for stream in FLOW if table in stream.writes), None)


def reader_of(table: Table) -> str | None:
    """The query that reads ``table`` as a stream."""
    return next((stream.query for stream in FLOW if stream.reads is table), None)


def personal(*, streamed: bool) -> list[Table]:
    """Tables with people in them, in order of the flow: those that a query fills, or the others (``streamed`` False).

    Rejected events have no column for a user, but their bytes may.
    """
    filled = [table for stream in FLOW for table in stream.writes]
    chosen = filled if streamed else [table for table in TABLES.values() if table not in filled]
    return [table for table in chosen if "user_id" in table.columns or table is REJECTED_EVENTS]


def noted(settings: Settings) -> dict[str, Any] | None:
    """From where on the logs say what the one pass owes, by source; None where it does not have the tables."""
    return notes.read(f"{settings.storage.checkpoints.rstrip('/')}/{TOGETHER.query}", TOGETHER.note)


def running(settings: Settings) -> tuple[Stream, ...]:
    """The queries that have the tables, in the order in which data passes through them."""
    return FLOW if noted(settings) is None else (TOGETHER,)
