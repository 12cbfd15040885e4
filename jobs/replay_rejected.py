"""Judge rejected records again, after a fix or with other limits, and move what passes now to the events.

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
from features.erasure import ERASED_USER
from features.errors import UsageError
from features.events import REASONS, accepted
from features.rebuilding import RAW
from features.tables import ERASURES, EVENTS, REJECTED_EVENTS
from jobs import ingest_events
from jobs.ingest_events import judging_rules
from jobs.runtime import cli
from jobs.runtime.admission import judged, repeated
from jobs.runtime.erasures import Privacy
from jobs.runtime.lake import Lake
from jobs.runtime.positions import finished_rows
from jobs.runtime.rewrites import alone, delete_keys
from jobs.runtime.session import spark_session
from jobs.runtime.settings import Settings, load_settings
from jobs.runtime.streams import in_few_files

JOB = "replay_rejected"
FINAL = (ERASED_USER, "duplicate_event_id")
"""Reasons that no other judgement can mend."""


@dataclass(frozen=True)
class Replayed:
    """How many records were looked at, moved to the events, and left because their event id is there already."""

    judged: int
    moved: int
    repeated: int


def replay(spark: SparkSession, lake: Lake, settings: Settings, reason: str, since: datetime | None) -> Replayed:
    """Judge the records rejected for ``reason`` since a time again.

    Those that pass are appended to events first and then removed from rejected_events. Killed in between, a record is
    in both until the next run, which knows it by its place in Kafka and only removes it.

    Raises:
        UsageError: there is no such reason, or it is final.
        BehaviorError: another job that rewrites the tables is at work.
    """
    if reason not in REASONS:
        raise UsageError(f"Reason {reason!r} is unknown. Needed: one of {', '.join(sorted(REASONS))}.")
    if reason in FINAL:
        raise UsageError(f"Records rejected as {reason} cannot pass by being judged again.")
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
            found = events.select(POSITION).join(places, POSITION, "left_semi").distinct().toArrow()
            there = spark.createDataFrame(found)  # as it was before events gets more rows
            new = passing.join(F.broadcast(there), POSITION, "left_anti")
            fresh = new.join(F.broadcast(repeated(events, new, settings)), POSITION, "left_anti").persist()
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
    rules = judging_rules(settings.ingest)
    return privacy.without_erased(accepted(judged(candidates.withColumnsRenamed(RAW), privacy, rules, batch)))


def main(
    reason: Annotated[str, typer.Option(help="Judge the records rejected for this reason again.")],
    env: cli.Environment = "local",
    overrides: cli.Overrides = None,
    since: Annotated[datetime | None, typer.Option(help="Only those rejected since then (UTC).")] = None,
) -> None:
    """Judge rejected records again. Reads and writes rejected_events and events."""
    settings = load_settings(env, overrides or ())
    spark = spark_session(settings)
    lake = Lake(spark, settings.storage.root)
    lake.create(EVENTS, REJECTED_EVENTS, ERASURES)
    done = replay(spark, lake, settings, reason, since.replace(tzinfo=UTC) if since else None)
    typer.echo(f"{done.judged} judged, {done.moved} moved to events, {done.repeated} left: their event id is there.")


if __name__ == "__main__":
    cli.run(main)
