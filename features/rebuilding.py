"""Validating again what the tables hold: which rows would be written differently today."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from features.columns import beside
from features.duplicates import POSITION
from features.tables import EVENTS, REJECTED_EVENTS

RECORD_PLACE = [name for name in POSITION if name != "part"]
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
        "raw", "kafka_key", "headers", "received_at", "ingested_at", "ingest_id", *POSITION, "parts"
    )
    return kept.withColumnsRenamed(RAW)


def differing(validated: DataFrame, stored: DataFrame, table: str) -> DataFrame:
    """``validated`` rows that are in the table at their place, but say something else there."""
    names = CONTENT[table]
    there = stored.select(*POSITION, _content(names).alias("stored"))
    here = validated.withColumn("said", _content(names))
    return beside(here, there, POSITION).where("NOT (said <=> stored)").drop("said", "stored")


def _content(names: Iterable[str]) -> Column:
    """The columns as one value that can be compared; maps cannot."""
    plain = [F.array_sort(F.map_entries(name)) if name == "properties" else F.col(name) for name in names]
    return F.struct(*[value.alias(name) for name, value in zip(names, plain, strict=True)])


def with_places_of(rows: DataFrame, others: DataFrame) -> DataFrame:
    """Those of ``rows`` at places in Kafka that ``others`` have, too."""
    return beside(rows, others.select(POSITION), POSITION, "left_semi")


def without_places_of(rows: DataFrame, others: DataFrame) -> DataFrame:
    """Those of ``rows`` at places in Kafka that ``others`` do not have."""
    return beside(rows, others.select(POSITION), POSITION, "left_anti")


def places_near(rows: DataFrame, others: DataFrame, *more: str) -> DataFrame:
    """Places, and ``more`` columns, of those ``rows`` that come from the same records in Kafka as the ``others``."""
    return rows.select(*POSITION, *more).join(others.select(RECORD_PLACE), RECORD_PLACE, "left_semi")


def without_others(rows: DataFrame, there: DataFrame) -> DataFrame:
    """Those of ``rows`` whose record in Kafka is not ``there`` as another number of events (``parts``)."""
    known = there.select(*RECORD_PLACE, F.col("parts").alias("parts_there")).distinct()
    met = rows.join(known, RECORD_PLACE, "left").where("parts_there IS NULL OR parts_there = parts")
    whole = there.where("parts IS NULL").select(RECORD_PLACE)
    return met.drop("parts_there").join(whole, RECORD_PLACE, "left_anti").select(rows.columns)


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
