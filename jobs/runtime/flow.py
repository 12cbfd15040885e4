"""Which streaming query reads and writes which tables, in the order in which data passes through them.

Maintenance, erasure and recomputing jobs go by this list, so a new query has to be named here once.
``raise_alerts`` is none: it follows ``scores`` without Spark, and starts over when rows of it are deleted.
"""

from __future__ import annotations

from dataclasses import dataclass

from features.tables import (
    EVENTS,
    FEATURE_TABLE,
    REJECTED_EVENTS,
    SCORES,
    SHADOW_SCORES,
    TABLES,
    TILES,
    Table,
)


@dataclass(frozen=True)
class Stream:
    """A query by its name: the table it reads as a stream (None: Kafka), and the tables its batches append to."""

    query: str
    reads: Table | None
    writes: tuple[Table, ...]


FLOW = (
    Stream("ingest_events", None, (EVENTS, REJECTED_EVENTS)),
    Stream("build_features", EVENTS, (TILES, FEATURE_TABLE)),
    Stream("score_features", FEATURE_TABLE, (SCORES, SHADOW_SCORES)),
)


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
