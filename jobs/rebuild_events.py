"""Validate everything again from the bytes that events and rejected_events keep, by the rules of now, without Kafka.

Reads and writes events and rejected_events. Only what differs is written: with the same rules nothing is, and the same
tables come out. It may be killed at any moment and run again, beside running streams, too.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from functools import reduce

import pyarrow as pa
import typer
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from features.columns import beside
from features.duplicates import ARRIVAL, POSITION
from features.packed import arrivals, unpacked
from features.rebuilding import (
    CONTENT,
    as_read,
    differing,
    newly_repeated,
    places_near,
    with_places_of,
    without_places_of,
)
from features.records import accepted, rejected, validate_in_packs
from features.tables import ERASURES, EVENTS, REJECTED_EVENTS, Table
from jobs import ingest_events
from lake.rewrites import alone, delete_keys, replace_keys
from lake.spark_tables import Lake
from pipeline.admission import admission
from privacy.erased_people import Privacy
from settings import Settings, cli, load_settings
from spark.session import spark_session
from streams.progress import finished_rows
from streams.queries import in_few_files
from streams.rules import validation_rules

JOB = "rebuild_events"
DUPLICATE = "duplicate_event_id"


@dataclass(frozen=True)
class Rebuilt:
    """How many records were validated, moved to events, moved to rejected_events, and changed.

    Changed are those that are written otherwise in their place, and events that turned out to hold several. ``kept``
    could not be validated, since their bytes are not there.
    """

    validated: int
    to_events: int
    to_rejected: int
    changed: int
    kept: int


@dataclass(frozen=True)
class Work:
    """What differs, read from fixed versions of both tables."""

    cut: DataFrame  # places of events that by the rules of now are several; others are made of it, so it is kept first
    come: DataFrame  # rows that table events lacks
    gone: DataFrame  # rows that table rejected_events lacks
    changed_events: DataFrame
    changed_rejected: DataFrame
    not_events: DataFrame  # places of rows that are in events and should not be
    not_rejected: DataFrame

    def frames(self) -> list[DataFrame]:
        return [getattr(self, name) for name in self.__dataclass_fields__]


def rebuild(spark: SparkSession, lake: Lake, settings: Settings) -> Rebuilt:
    """Validate all records again and write what differs.

    What is missing in a table is appended before anything is removed from the other. Killed in between, a record is in
    both tables until the next run, which removes the wrong one; it is never in none.

    Raises:
        BehaviorError: another job that rewrites the tables is at work.
    """
    with alone(spark, settings, JOB):
        # In this order: what is finished now is in the versions that are read afterwards.
        finished = finished_rows(spark, settings, ingest_events.QUERY)
        events = finished(lake.read(EVENTS, lake.version(EVENTS)))
        refused = finished(lake.read(REJECTED_EVENTS, lake.version(REJECTED_EVENTS)))
        stale = _stale(events, refused)
        once = without_places_of(without_places_of(refused, events), stale)
        records = as_read(events).unionByName(as_read(once))
        privacy = Privacy(lake, settings)
        packs = _kept(validate_in_packs(records, validation_rules(settings.ingest)))
        repeated = _repeated(_kept(arrivals(packs)), events, refused, settings)
        validated = _kept(unpacked(packs, admission(repeated, privacy.guard())))
        work = _work(validated, events, refused, stale)
        try:
            counts = [frame.persist(StorageLevel.MEMORY_AND_DISK).count() for frame in work.frames()]
            cut, come, gone, *changed = counts
            total = validated.count()
            kept = events.where("raw IS NULL").count() + refused.where("raw IS NULL AND reason <> 'tombstone'").count()
            _write(lake, settings, work, come, gone, changed)
            return Rebuilt(total, come, gone, changed[0] + changed[1] + cut, kept)
        finally:
            for frame in work.frames():
                frame.unpersist()


def _kept(rows: DataFrame) -> DataFrame:
    """``rows`` on the executors' disks, without the plan that made them: each stage would carry it along."""
    return rows.localCheckpoint(True, StorageLevel.DISK_ONLY)


def _repeated(arrived: DataFrame, events: DataFrame, refused: DataFrame, settings: Settings) -> pa.Table:
    """Places of the records that repeat an event id, of those that ``arrived`` (:data:`features.packed.ARRIVALS`).

    Which of two came first was decided when they came, and stays so: an event that passes again stays one, and a
    duplicate stays one as long as there is an event with its key. Only what passes for the first time, and duplicates
    whose event is none any more, are compared anew, by the times at which Kafka received them.
    """
    keyed = arrived.where("reason IS NULL AND event_key IS NOT NULL")
    received = F.coalesce(F.unix_micros("received_at"), F.lit(0)).alias("received")
    known = with_places_of(keyed, events).select("event_key", received)
    known = known.unionByName(events.where("raw IS NULL AND event_key IS NOT NULL").select("event_key", received))
    fresh = without_places_of(keyed, events).select("event_key", received, *ARRIVAL)
    before = refused.where(F.col("reason") == DUPLICATE)
    still = with_places_of(fresh, before).join(known.select("event_key"), "event_key", "left_semi")
    others = without_places_of(fresh, still)
    candidates = others.orderBy(*ARRIVAL).toArrow()
    keys = F.broadcast(others.select("event_key").distinct())
    met = known.join(keys, "event_key", "left_semi").toArrow().to_pylist()
    again = newly_repeated(candidates.to_pylist(), met, settings.ingest.dedupe_window_seconds)
    return pa.concat_tables(
        [still.select(POSITION).toArrow(), candidates.filter(pa.array(again, pa.bool_())).select(POSITION)]
    )


def _stale(events: DataFrame, refused: DataFrame) -> DataFrame:
    """Places of rejected records beside the events that they hold: a replay was killed before it removed them."""
    parts = reduce(DataFrame.unionAll, [rows.where("part IS NOT NULL").select(POSITION) for rows in (events, refused)])
    return places_near(refused.where("part IS NULL"), parts)


def _work(validated: DataFrame, events: DataFrame, refused: DataFrame, stale: DataFrame) -> Work:
    good, bad = accepted(validated), rejected(validated)
    cut, cut_rejected = (
        without_places_of(rows.where("raw IS NOT NULL AND part IS NULL"), validated).select(POSITION)
        for rows in (events, refused)
    )  # into events, which have places of their own
    return Work(
        come=without_places_of(good, events),
        gone=without_places_of(bad, refused),
        changed_events=differing(good, events, EVENTS.name),
        changed_rejected=differing(bad, refused, REJECTED_EVENTS.name),
        not_events=with_places_of(bad.select(POSITION), events).unionByName(cut),
        not_rejected=with_places_of(good.select(POSITION), refused).unionByName(cut_rejected).unionByName(stale),
        cut=cut,
    )


def _write(lake: Lake, settings: Settings, work: Work, come: int, gone: int, changed: list[int]) -> None:
    """``changed``: how many rows each of the last four frames of ``work`` has."""
    batch, chosen = f"{JOB}-{uuid.uuid4()}:0", settings.maintenance
    if come:  # another writer of the row, so that a feature job can tell what it has not read yet
        rows = work.come.withColumn("ingest_id", F.lit(batch))
        lake.append(in_few_files(rows.select(EVENTS.columns), come), EVENTS, batch_id=batch)
    if gone:
        lake.append(in_few_files(work.gone, gone), REJECTED_EVENTS, batch_id=batch)
    for rows, number, table in zip(
        (work.changed_events, work.changed_rejected), changed[:2], (EVENTS, REJECTED_EVENTS), strict=True
    ):
        if number:
            _update(lake, settings, rows, table)
    for places, number, table in zip(
        (work.not_events, work.not_rejected), changed[2:], (EVENTS, REJECTED_EVENTS), strict=True
    ):
        if number:
            delete_keys(lake, table, places, chosen)


def _update(lake: Lake, settings: Settings, rows: DataFrame, table: Table) -> None:
    content = rows.select(*POSITION, *CONTENT[table.name])

    def updated(old: DataFrame) -> DataFrame:
        return beside(old.drop(*CONTENT[table.name]), content, POSITION).select(old.columns)

    replace_keys(lake, table, content.select(POSITION), updated, settings.maintenance)


def main(env: cli.Environment = "local", overrides: cli.Overrides = None) -> None:
    """Validate everything again from the kept bytes. Reads and writes events and rejected_events."""
    settings = load_settings(env, overrides or ())
    spark = spark_session(settings)
    lake = Lake(spark, settings.storage.root)
    lake.create(EVENTS, REJECTED_EVENTS, ERASURES)
    done = rebuild(spark, lake, settings)
    typer.echo(
        f"{done.validated:,} records validated again: {done.to_events:,} moved to events, {done.to_rejected:,} to "
        f"rejected_events, {done.changed:,} changed in place."
    )
    if done.kept:
        typer.echo(f"{done.kept:,} records stay as they are: their bytes are not kept.")
    if done.to_rejected or done.changed:
        typer.echo("Features of events that left or changed: python -m jobs.check_parity --repair.")


if __name__ == "__main__":
    cli.run(main)
