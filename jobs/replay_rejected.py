"""Validate rejected records again, after a fix or with other limits, and move what passes now to the events.

Reads and writes rejected_events and events; Kafka is not touched. A record moves once, however often this is run
and whenever it is killed.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import typer
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from features.duplicates import POSITION
from features.errors import UsageError
from features.events import REASONS
from features.packed import unpacked
from features.rebuilding import RAW
from features.records import accepted
from features.tables import ERASURES, EVENTS, REJECTED_EVENTS
from jobs import ingest_events
from lake.rewrites import alone, delete_keys
from lake.spark_tables import Lake
from pipeline.admission import repeated, validated_now
from privacy.erased_people import Privacy
from privacy.pseudonyms import ERASED_USER
from settings import Settings, cli, load_settings
from spark.session import spark_session
from streams.progress import finished_rows
from streams.queries import in_few_files
from streams.rules import validation_rules

JOB = "replay_rejected"
FINAL = (ERASED_USER, "duplicate_event_id")
"""Reasons that no other validation can mend."""


@dataclass(frozen=True)
class Replayed:
    """How many records were validated again, moved to the events, and left because their event id is there already."""

    validated: int
    moved: int
    repeated: int


def replay(spark: SparkSession, lake: Lake, settings: Settings, reason: str, since: datetime | None) -> Replayed:
    """Validate the records rejected for ``reason`` since a time again.

    Those that pass are appended to events first and then removed from rejected_events. Killed in between, a record is
    in both until the next run, which knows it by its place in Kafka and only removes it.

    Raises:
        UsageError: there is no such reason, or it is final.
        BehaviorError: another job that rewrites the tables is at work.
    """
    if reason not in REASONS:
        raise UsageError(f"Reason {reason!r} is unknown. Needed: one of {', '.join(sorted(REASONS))}.")
    if reason in FINAL:
        raise UsageError(f"Records rejected as {reason} cannot pass by being validated again.")
    with alone(spark, settings, JOB):
        privacy = Privacy(lake, settings)
        finished = finished_rows(spark, settings, ingest_events.QUERY)
        candidates = finished(lake.read(REJECTED_EVENTS)).where(F.col("reason") == reason)
        if since is not None:
            candidates = candidates.where(F.col("ingested_at") >= since)
        batch = f"{JOB}-{uuid.uuid4()}:0"
        passing = _passing(candidates, privacy, settings, batch).persist(StorageLevel.MEMORY_AND_DISK)
        try:
            looked_at, passed, events = candidates.count(), passing.count(), lake.read(EVENTS)
            places = F.broadcast(passing.select(POSITION))
            known = events.select(POSITION).join(places, POSITION, "left_semi").distinct().toArrow()
            there = spark.createDataFrame(known)  # as it was before events gets more rows
            new = passing.join(F.broadcast(there), POSITION, "left_anti")
            again = spark.createDataFrame(repeated(events, new, settings))
            fresh = new.join(F.broadcast(again), POSITION, "left_anti").persist()
            moved, healed = fresh.count(), there.count()
            if moved:
                lake.append(in_few_files(fresh.select(EVENTS.columns), moved), EVENTS, batch_id=batch)
            if moved or healed:
                delete_keys(lake, REJECTED_EVENTS, fresh.select(POSITION).unionByName(there), settings.maintenance)
            fresh.unpersist()
            return Replayed(looked_at, moved, passed - moved - healed)
        finally:
            passing.unpersist()


def _passing(candidates: DataFrame, privacy: Privacy, settings: Settings, batch: str) -> DataFrame:
    """The candidates that are events by the rules of now, as rows of table events."""
    packs = validated_now(candidates.withColumnsRenamed(RAW), validation_rules(settings.ingest), batch)
    return privacy.without_erased(accepted(unpacked(packs, privacy.guard().apply)))


def main(
    reason: Annotated[str, typer.Option(help="Validate the records rejected for this reason again.")],
    env: cli.Environment = "local",
    overrides: cli.Overrides = None,
    since: Annotated[datetime | None, typer.Option(help="Only those rejected since then (UTC).")] = None,
) -> None:
    """Validate rejected records again. Reads and writes rejected_events and events."""
    settings = load_settings(env, overrides or ())
    spark = spark_session(settings)
    lake = Lake(spark, settings.storage.root)
    lake.create(EVENTS, REJECTED_EVENTS, ERASURES)
    done = replay(spark, lake, settings, reason, since.replace(tzinfo=UTC) if since else None)
    typer.echo(
        f"{done.validated} validated, {done.moved} moved to events, {done.repeated} left: their event id is there."
    )


if __name__ == "__main__":
    cli.run(main)
