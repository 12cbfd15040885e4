"""Prove that every Kafka offset that was read is an event, a known duplicate or a rejected record: once, in one table.

Reads tables events, rejected_events and ledger_gaps, the checkpoint of ingest_events and the broker. With --repair,
what is lost is taken from Kafka again and written to events and rejected_events; else nothing is written.
Exit code 1 when an offset was lost, or is accounted for twice.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Annotated

import typer
from confluent_kafka import Consumer, KafkaException, TopicPartition
from pyspark import StorageLevel
from pyspark.sql import SparkSession
from rich.console import Console
from rich.table import Table as Printed

from features.duplicates import reject_duplicates
from features.errors import BehaviorError, EnvironmentProblem
from features.events import accepted, rejected
from features.ledger import Account, Partition, Range, accounts, rows_of, split
from features.tables import EVENTS, LEDGER_GAPS, REJECTED_EVENTS
from jobs import ingest_events
from jobs.ingest_events import judging_rules
from jobs.runtime import admission, cli, files, kafka
from jobs.runtime.erasures import Privacy
from jobs.runtime.kafka_clients import librdkafka_options
from jobs.runtime.lake import Lake
from jobs.runtime.rewrites import alone, still_alone
from jobs.runtime.session import spark_session
from jobs.runtime.settings import Settings, load_settings
from jobs.runtime.streams import checkpoint, in_few_files

PATIENCE = 20.0
"""Seconds to wait for an answer of the broker."""
LOST, GONE, KNOWN, EMPTY = "lost", "gone", "known gap", "empty"


@dataclass(frozen=True)
class Finding:
    """Offsets without a row: ``lost`` (Kafka has the first of them), ``gone`` (Kafka no longer has them), ``known gap``
    (gone, and ingest was told to go on without them) or ``empty`` (no record is there, but perhaps the marker of a
    transaction)."""

    offsets: Range
    what: str


@dataclass(frozen=True)
class Entry:
    """The account of one partition, beside what the broker says."""

    account: Account
    findings: tuple[Finding, ...]
    unread: int

    @property
    def difference(self) -> int:
        """Offsets that are not accounted for exactly once."""
        absent = sum(len(found.offsets) for found in self.findings if found.what not in (EMPTY, KNOWN))
        return absent + self.account.twice + self.account.strange


def check(spark: SparkSession, lake: Lake, settings: Settings) -> list[Entry]:
    """One entry per topic and partition.

    Raises:
        BehaviorError: ingest_events has not finished a batch.
        EnvironmentProblem: no broker answers.
    """
    known = accounts(rows_of(lake.read(EVENTS), lake.read(REJECTED_EVENTS)), read_offsets(spark, settings))
    gaps = noted_gaps(lake)
    options = {**librdkafka_options(settings.kafka), "group.id": "check_ledger", "enable.auto.commit": "false"}
    with closing(Consumer(options)) as consumer:
        try:
            return [_entry(consumer, account, gaps.get((account.topic, account.partition), ())) for account in known]
        except KafkaException as error:
            raise EnvironmentProblem(
                f"The broker at {settings.kafka.bootstrap_servers} does not say what it holds: {error.args[0]}. "
                "See that it runs and that kafka.security_protocol and the settings below it fit its listener."
            ) from None


def read_offsets(spark: SparkSession, settings: Settings) -> dict[Partition, Range]:
    """What ingest_events has read and finished, from its checkpoint."""
    folder = checkpoint(settings, ingest_events.QUERY)
    done = files.numbered(spark, f"{folder}/commits")
    begin = files.text_of(spark, f"{folder}/sources/0/0")
    if not done or begin is None:
        raise BehaviorError(
            f"ingest_events has not finished a batch yet (checkpoint {folder}): there is nothing to account for."
        )
    first = json.loads(begin[begin.index("{") :])
    until = json.loads((files.text_of(spark, f"{folder}/offsets/{max(done)}") or "").splitlines()[-1])
    return {
        (topic, int(partition)): Range(int(first.get(topic, {}).get(partition, 0)), int(end))
        for topic, ends in until.items()
        for partition, end in ends.items()
    }


def noted_gaps(lake: Lake) -> dict[Partition, tuple[Range, ...]]:
    """What ingest noted as deleted by Kafka before it was read."""
    if not lake.exists(LEDGER_GAPS):
        return {}
    found: dict[Partition, tuple[Range, ...]] = {}
    for row in lake.read(LEDGER_GAPS).select("topic", "partition", "first", "until").distinct().collect():
        place = (row["topic"], row["partition"])
        found[place] = (*found.get(place, ()), Range(row["first"], row["until"]))
    return found


def _entry(consumer: Consumer, account: Account, gaps: Iterable[Range]) -> Entry:
    place = TopicPartition(account.topic, account.partition)
    low, high = consumer.get_watermark_offsets(place, timeout=PATIENCE)
    findings: list[Finding] = []
    for missing in account.missing:
        noted, others = split(missing, gaps)
        findings += [Finding(gap, KNOWN) for gap in noted]
        findings += [found for other in others for found in _asked(consumer, account, other, low)]
    return Entry(account, tuple(findings), max(0, high - account.read.until))


def repair(spark: SparkSession, lake: Lake, settings: Settings) -> tuple[list[Entry], int]:
    """Take the lost offsets that Kafka still has from it again; what was found before that, and how many are back.

    They are judged as ingest does, by the rules of now, and build_features reads them like any other events. Killed in
    between, the next call takes what is still lost.

    Raises:
        BehaviorError: another job that rewrites or recomputes is at work, or ingest_events has not finished a batch.
        EnvironmentProblem: no broker answers.
    """
    with alone(spark, settings, "check_ledger --repair"):
        entries = check(spark, lake, settings)
        lost = {
            (entry.account.topic, entry.account.partition): ranges
            for entry in entries
            if (ranges := [found.offsets for found in entry.findings if found.what == LOST])
        }
        return entries, _take_again(spark, lake, settings, lost) if lost else 0


def _take_again(spark: SparkSession, lake: Lake, settings: Settings, lost: dict[Partition, list[Range]]) -> int:
    batch, privacy = f"check_ledger-{uuid.uuid4()}:0", Privacy(lake, settings)
    records = kafka.read_ranges(spark, settings.kafka, lost)
    judged = admission.judged(records, privacy, judging_rules(settings.ingest), batch)
    judged = judged.persist(StorageLevel.MEMORY_AND_DISK)
    try:
        again = admission.repeated(lake.read(EVENTS), judged.where("reason IS NULL"), settings)
        told = reject_duplicates(judged, again)
        for rows, table in ((accepted(told), EVENTS), (rejected(told), REJECTED_EVENTS)):
            if number := rows.count():
                still_alone()
                lake.append(in_few_files(rows, number), table, batch_id=batch)
        return judged.count()
    finally:
        judged.unpersist()


def _asked(consumer: Consumer, account: Account, missing: Range, low: int) -> Iterable[Finding]:
    """What the broker says of offsets without a row."""
    if missing.first < low:
        yield Finding(Range(missing.first, min(low, missing.until)), GONE)
    first = max(low, missing.first)
    if first >= missing.until:
        return
    consumer.assign([TopicPartition(account.topic, account.partition, first)])
    message = consumer.poll(PATIENCE)
    if message is not None and message.error():
        raise KafkaException(message.error())
    at = missing.until if message is None else min(int(message.offset() or 0), missing.until)
    if at > first:
        yield Finding(Range(first, at), EMPTY)
    if at < missing.until:
        yield Finding(Range(at, missing.until), LOST)


def show(entries: list[Entry], console: Console) -> None:
    """Print a line per partition, and every difference."""
    table = Printed(title="ledger", title_justify="left")
    titles = ("topic", "partition", "offsets read", "events", "duplicates", "rejected", "twice", "missing", "unread")
    for title in titles:
        table.add_column(title, justify="left" if title == "topic" else "right")
    for entry in entries:
        own = entry.account
        missing = sum(map(len, own.missing))
        numbers = (own.events, own.duplicates, own.rejected, own.twice + own.strange, missing, entry.unread)
        read = str(own.read) if len(own.read) else "none"
        table.add_row(own.topic, str(own.partition), read, *[f"{number:,}" for number in numbers])
    console.print(table)
    for entry in entries:
        name = f"{entry.account.topic} {entry.account.partition}"
        for found in entry.findings:
            console.print(f"{name}: offsets {found.offsets} {found.what}", markup=False, highlight=False)
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
    entries, back = repair(spark, lake, settings) if mend else (check(spark, lake, settings), 0)
    show(entries, console)
    if back:
        console.print(f"{back:,} records taken from Kafka again; build_features reads them next.", highlight=False)
    elif any(found.what == LOST for entry in entries for found in entry.findings):
        console.print("Kafka still has what is lost: --repair takes it again.", highlight=False)
    if any(entry.difference for entry in entries):
        raise typer.Exit(1)


if __name__ == "__main__":
    cli.run(main)
