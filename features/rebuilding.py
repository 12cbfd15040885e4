"""Validating again what the tables hold: which rows would be written differently today."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from features.duplicates import POSITION
from features.tables import EVENTS, REJECTED_EVENTS

RAW = {"raw": "value", "kafka_key": "key", "received_at": "timestamp"}
CONTENT = {
    table.name: [name for name in table.columns if name not in (*POSITION, "ingest_id")]
    for table in (EVENTS, REJECTED_EVENTS)
}
"""What a row says. Who wrote it is no part of it: a record that moves gets another ``ingest_id``."""


def as_read(rows: DataFrame) -> DataFrame:
    """Rows of either table as the records they came from; only those whose bytes are kept.

    A tombstone has no bytes and no other verdict; of an erased person, and where ids are pseudonyms, nothing is left
    that could be validated.
    """
    kept = rows.where("raw IS NOT NULL").select(
        "raw", "kafka_key", "headers", "received_at", "ingested_at", "ingest_id", *POSITION
    )
    return kept.withColumnsRenamed(RAW)


def differing(validated: DataFrame, stored: DataFrame, table: str) -> DataFrame:
    """``validated`` rows that are in the table at their place, but say something else there."""
    names = CONTENT[table]
    there = stored.select(*POSITION, _content(names).alias("stored"))
    here = validated.withColumn("said", _content(names))
    return here.join(there, POSITION).where("NOT (said <=> stored)").drop("said", "stored")


def _content(names: Iterable[str]) -> Column:
    """The columns as one value that can be compared; maps cannot."""
    plain = [F.array_sort(F.map_entries(name)) if name == "properties" else F.col(name) for name in names]
    return F.struct(*[value.alias(name) for name, value in zip(names, plain, strict=True)])


def newly_repeated(
    candidates: Iterable[Mapping[str, int]], known: Iterable[Mapping[str, int]], window_seconds: int
) -> list[bool]:
    """Which candidates repeat an event that was received within the window, or an earlier candidate that does not.

    Args:
        candidates: ``event_key`` and ``received`` (microseconds since 1970) of each, in order of arrival.
        known: the same of accepted events.
    """
    times: dict[int, list[int]] = {}
    for row in known:
        times.setdefault(row["event_key"], []).append(row["received"])
    repeated = []
    for row in candidates:
        met = times.setdefault(row["event_key"], [])
        is_repeated = any(abs(row["received"] - time) <= window_seconds * 1_000_000 for time in met)
        repeated.append(is_repeated)
        if not is_repeated:
            met.append(row["received"])
    return repeated
