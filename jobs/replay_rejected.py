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
from features.packed import arrivals, unpacked
from features.rebuilding import RAW, places_near, with_places_of, without_places_of
from features.records import accepted, rejected
from features.tables import ERASURES, EVENTS, REJECTED_EVENTS
from jobs import ingest_events
from lake.rewrites import alone, delete_keys
from lake.spark_tables import Lake
from pipeline.admission import admission, repeated, validated_now
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
    in both until the next run, which knows it by its place in Kafka and only removes it. A record that turns out to
    hold several events leaves its place to them, whether they pass or not.

    Raises:
        UsageError: there is no such reason, or it is final.
        BehaviorError: another job that rewrites the tables is at work.
    """
    if reason not in REASONS:
        raise UsageError(f"Reason {reason!r} is unknown. Needed: one of {', '.join(sorted(REASONS))}.")
    if reason in FINAL:
        raise UsageError(f"Records rejected as {reason} cannot pass by being validated again.")
    with alone(spark, settings, JOB):
        privacy, batch = Privacy(lake, settings), f"{JOB}-{uuid.uuid4()}:0"
        events, refused = lake.read(EVENTS), lake.read(REJECTED_EVENTS)
        candidates = finished_rows(spark, settings, ingest_events.QUERY)(refused).where(F.col("reason") == reason)
        if since is not None:
            candidates = candidates.where(F.col("ingested_at") >= since)
        there, refused_there = (places_near(rows, candidates).localCheckpoint() for rows in (events, refused))
        healed, waiting = with_places_of(candidates.select(POSITION), there), without_places_of(candidates, there)
        packs = validated_now(waiting.withColumnsRenamed(RAW), validation_rules(settings.ingest), batch)
        packs = packs.persist(StorageLevel.MEMORY_AND_DISK)
        try:
            passing = without_places_of(arrivals(packs).where("reason IS NULL"), there)
            again = repeated(events, passing, settings)
            validated = unpacked(packs, admission(again, privacy.guard()))
            fresh = privacy.without_erased(without_places_of(accepted(validated), there))
            others = without_places_of(rejected(validated).where("part IS NOT NULL"), refused_there)
            cut = without_places_of(waiting.where("part IS NULL"), validated)
            gone = fresh.select(POSITION).unionByName(cut.select(POSITION)).unionByName(healed)
            looked_at = candidates.count()
            # As they are before the tables get more rows.
            moving = [rows.localCheckpoint() for rows in (fresh, others, gone)]
        finally:
            packs.unpersist()
        return Replayed(looked_at, _move(lake, settings, batch, *moving), again.num_rows)


def _move(lake: Lake, settings: Settings, batch: str, fresh: DataFrame, others: DataFrame, gone: DataFrame) -> int:
    """Append the events and the rejected ones beside them, and remove what is gone; how many events there are."""
    moved = fresh.count()
    if moved:
        lake.append(in_few_files(fresh, moved), EVENTS, batch_id=batch)
    if number := others.count():
        lake.append(in_few_files(others, number), REJECTED_EVENTS, batch_id=batch)
    if not gone.isEmpty():
        delete_keys(lake, REJECTED_EVENTS, gone, settings.maintenance)
    return moved


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
