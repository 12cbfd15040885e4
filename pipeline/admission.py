"""The way of validated records into the tables: without repeated event ids, and without erased people."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.duplicates import POSITION, reject_repeated
from features.events import ValidationRules
from features.rebuilding import newly_repeated
from features.records import validate_in_packs
from privacy.pseudonyms import Guard
from settings import Settings

Admit = Callable[[pa.Table], pa.Table]


def admission(repeated: pa.Table, guard: Guard) -> Admit:
    """What a worker does to validated records before they are kept; ``repeated`` are places of :data:`POSITION`."""
    places = repeated.select(POSITION).sort_by("offset")

    def admit(validated: pa.Table) -> pa.Table:
        return guard.apply(reject_repeated(validated, places))

    return admit


def validated_now(records: DataFrame, rules: ValidationRules, batch: str) -> DataFrame:
    """Packs of ``records`` (Kafka's columns and headers) by the rules of now, as rows that ``batch`` brings."""
    read = records.withColumns({"ingested_at": F.lit(datetime.now(UTC)), "ingest_id": F.lit(batch)})
    return validate_in_packs(read, rules)


def repeated(events: DataFrame, passing: DataFrame, settings: Settings) -> pa.Table:
    """Places of ``passing`` records whose event id an event received within the window has, or one of them before."""
    keyed = passing.where("event_key IS NOT NULL")
    keys = F.broadcast(keyed.select("event_key").distinct())
    received = F.coalesce(F.unix_micros("received_at"), F.lit(0)).alias("received")
    met = events.join(keys, "event_key", "left_semi").select("event_key", received).toArrow().to_pylist()
    rows = keyed.select(received, *POSITION, "event_key").toArrow()
    rows = rows.sort_by([(name, "ascending") for name in ("received", *POSITION)])
    again = newly_repeated(rows.to_pylist(), met, settings.ingest.dedupe_window_seconds)
    return rows.filter(pa.array(again, pa.bool_())).select(POSITION)
