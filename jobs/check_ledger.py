"""Prove that every Kafka offset that was read is an event, a known duplicate or a rejected record: once, in one table.

Where a record holds several events, each of them is.
Reads tables events, rejected_events and ledger_gaps, the checkpoint of ingest_events and the broker. With --repair,
what is lost is taken from Kafka again and written to events and rejected_events; else nothing is written.
Exit code 1 when an offset was lost, or is accounted for twice.
"""

from __future__ import annotations

import uuid
from functools import reduce
from itertools import islice
from typing import Annotated

import typer
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from rich.console import Console
from rich.table import Table as Printed

from features.ledger import Partition, Range
from features.packed import arrivals, unpacked
from features.rebuilding import places_near, without_others, without_places_of
from features.records import accepted, rejected
from features.tables import EVENTS, REJECTED_EVENTS
from kafka import source
from kafka.ledger import LOST, Entry, audit
from lake.rewrites import alone, still_alone
from lake.spark_tables import Lake
from pipeline import admission
from privacy.erased_people import Privacy
from settings import Settings, cli, load_settings
from spark.session import spark_session
from streams.queries import in_few_files
from streams.rules import validation_rules

MAX_SHOWN = 20
"""Ranges of a kind that are shown of a partition."""


def repair(spark: SparkSession, lake: Lake, settings: Settings) -> tuple[list[Entry], int]:
    """Take the lost offsets that Kafka still has from it again; what was found before that, and how many are back.

    They are validated as in ingest, by the rules of now, and build_features reads them like any other events. Killed
    in between, the next call takes what is still lost.

    Raises:
        BehaviorError: another job that rewrites or recomputes is at work, or ingest_events has not finished a batch.
        EnvironmentProblem: no broker answers.
    """
    with alone(spark, settings, "check_ledger --repair"):
        entries = audit(spark, lake, settings)
        lost = {
            (entry.account.topic, entry.account.partition): list(entry.missing[LOST])
            for entry in entries
            if len(entry.missing[LOST])
        }
        return entries, _take_again(spark, lake, settings, lost) if lost else 0


def _take_again(spark: SparkSession, lake: Lake, settings: Settings, lost: dict[Partition, list[Range]]) -> int:
    batch, privacy = f"check_ledger-{uuid.uuid4()}:0", Privacy(lake, settings)
    records = source.read_ranges(spark, settings.kafka, lost)
    packs = admission.validated_now(records, validation_rules(settings.ingest), batch)
    packs = packs.persist(StorageLevel.MEMORY_AND_DISK)
    try:
        tables = (lake.read(EVENTS), lake.read(REJECTED_EVENTS))
        there = reduce(DataFrame.unionAll, [places_near(rows, records, "parts") for rows in tables]).localCheckpoint()
        passing = without_places_of(arrivals(packs).where("reason IS NULL"), there)
        again = admission.repeated(tables[0], passing, settings)
        validated = unpacked(packs, admission.admission(again, privacy.guard()))
        # Of a record with several events some may be there. What was read as another number of events then is left.
        missing = without_places_of(without_others(validated, there), there).localCheckpoint()
        for rows, table in ((accepted(missing), EVENTS), (rejected(missing), REJECTED_EVENTS)):
            if number := rows.count():
                still_alone()
                lake.append(in_few_files(rows, number), table, batch_id=batch)
        return missing.count()
    finally:
        packs.unpersist()


def show(entries: list[Entry], console: Console) -> None:
    """Print a line per partition, and every difference."""
    table = Printed(title="ledger", title_justify="left")
    titles = ("topic", "partition", "offsets read", "events", "duplicates", "rejected", "twice", "missing", "unread")
    for title in titles:
        table.add_column(title, justify="left" if title == "topic" else "right")
    for entry in entries:
        own = entry.account
        missing = own.missing.offsets
        numbers = (own.events, own.duplicates, own.rejected, own.twice + own.strange, missing, entry.unread)
        read = str(own.read) if len(own.read) else "none"
        table.add_row(own.topic, str(own.partition), read, *[f"{number:,}" for number in numbers])
    console.print(table)
    for entry in entries:
        name = f"{entry.account.topic} {entry.account.partition}"
        for what, ranges in entry.missing.items():
            for offsets in islice(ranges, MAX_SHOWN):
                console.print(f"{name}: offsets {offsets} {what}", markup=False, highlight=False)
            if len(ranges) > MAX_SHOWN:
                more = f"{len(ranges) - MAX_SHOWN:,} more ranges {what}, {ranges.offsets:,} offsets in all"
                console.print(f"{name}: {more}", markup=False, highlight=False)
        if entry.account.strange:
            console.print(f"{name}: {entry.account.strange} rows at offsets that were never read", markup=False)
    total = sum(entry.difference for entry in entries)
    read_in_all = sum(len(entry.account.read) for entry in entries)
    console.print(f"difference {total} of {read_in_all:,} offsets", highlight=False)


def main(
    env: cli.Environment = "local",
    overrides: cli.Overrides = None,
    mend: Annotated[bool, typer.Option("--repair", help="Take lost offsets that Kafka has from it again.")] = False,
) -> None:
    """Account for every offset. Reads events, rejected_events, a checkpoint and the broker; exit 1 on a difference."""
    settings = load_settings(env, overrides or ())
    spark = spark_session(settings)
    lake, console = Lake(spark, settings.storage.root), Console(soft_wrap=True)
    lake.create(EVENTS, REJECTED_EVENTS)
    entries, back = repair(spark, lake, settings) if mend else (audit(spark, lake, settings), 0)
    show(entries, console)
    if back:
        console.print(f"{back:,} records taken from Kafka again; build_features reads them next.", highlight=False)
    elif any(len(entry.missing[LOST]) for entry in entries):
        console.print("Kafka still has what is lost: --repair takes it again.", highlight=False)
    if any(entry.difference for entry in entries):
        raise typer.Exit(1)


if __name__ == "__main__":
    cli.run(main)
