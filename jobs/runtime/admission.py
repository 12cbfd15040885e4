"""Records that come to the tables by another way than the stream: judged alike, repeated ids found by arrival."""

from __future__ import annotations

from datetime import UTC, datetime

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.duplicates import POSITION
from features.events import JudgingRules, judge
from features.rebuilding import newly_repeated
from jobs.runtime.erasures import Privacy
from jobs.runtime.settings import Settings


def judged(records: DataFrame, privacy: Privacy, rules: JudgingRules, batch: str) -> DataFrame:
    """The verdict of now on ``records`` (Kafka's columns and headers), as rows that ``batch`` brings."""
    read = records.withColumns({"ingested_at": F.lit(datetime.now(UTC)), "ingest_id": F.lit(batch)})
    return privacy.guard().rows(judge(read, rules))


def repeated(events: DataFrame, passing: DataFrame, settings: Settings) -> DataFrame:
    """Places of ``passing`` records whose event id an event received within the window has, or one of them before."""
    keyed = passing.where("event_key IS NOT NULL")
    keys = F.broadcast(keyed.select("event_key").distinct())
    received = F.coalesce(F.unix_micros("received_at"), F.lit(0)).alias("received")
    met = events.join(keys, "event_key", "left_semi").select("event_key", received).toArrow().to_pylist()
    rows = keyed.select(received, *POSITION, "event_key").toArrow().sort_by("received").to_pylist()
    again = newly_repeated(rows, met, settings.ingest.dedupe_window_seconds)
    places = [tuple(row[name] for name in POSITION) for row, is_one in zip(rows, again, strict=True) if is_one]
    return passing.sparkSession.createDataFrame(places, passing.select(POSITION).schema)
