"""The ledger of the topic: offsets that were read against rows of the tables, and what the broker says of the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaException, TopicPartition
from pyspark.sql import SparkSession

from features.errors import BehaviorError, EnvironmentProblem
from features.ledger import (
    NO_RANGES,
    Account,
    Partition,
    Range,
    Ranges,
    accounts,
    record_kinds,
)
from features.tables import EVENTS, LEDGER_GAPS, REJECTED_EVENTS
from kafka import offsets
from kafka.connection import librdkafka_options
from lake.hadoop_files import HadoopFolder
from lake.spark_tables import Lake
from settings import Settings
from streams.checkpoints import Checkpoint
from streams.flow import INGEST
from streams.queries import checkpoint

PATIENCE = 20.0
"""Seconds to wait for an answer of the broker."""
LOST, GONE, KNOWN, EMPTY = "lost", "gone", "known gap", "empty"


@dataclass(frozen=True)
class Finding:
    """Offsets without a row: ``lost`` (Kafka has them), ``gone`` (Kafka no longer has them), ``known gap`` (gone, and
    ingest was told to go on without them) or ``empty`` (no record is there: the marker of a transaction, a record of an
    aborted one, or one that was compacted away)."""

    offsets: Range
    what: str


@dataclass(frozen=True)
class Entry:
    """The account of one partition, beside what the broker says: offsets without a row, by what became of them."""

    account: Account
    missing: Mapping[str, Ranges]
    unread: int

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All of :attr:`missing`, in the order of the offsets."""
        found = [Finding(offsets, what) for what, ranges in self.missing.items() for offsets in ranges]
        return tuple(sorted(found, key=lambda finding: finding.offsets.first))

    @property
    def difference(self) -> int:
        """Offsets that are not accounted for exactly once."""
        absent = sum(ranges.offsets for what, ranges in self.missing.items() if what not in (EMPTY, KNOWN))
        return absent + self.account.twice + self.account.strange


def audit(spark: SparkSession, lake: Lake, settings: Settings) -> list[Entry]:
    """One entry per topic and partition.

    Raises:
        BehaviorError: ingest_events has not finished a batch.
        EnvironmentProblem: no broker answers.
    """
    known = accounts(record_kinds(lake.read(EVENTS), lake.read(REJECTED_EVENTS)), read_offsets(spark, settings))
    gaps = noted_gaps(lake)
    by_place = {(account.topic, account.partition): account for account in known}
    noted = {place: Ranges.of(gaps.get(place, ())) for place in by_place}
    rest = {place: account.missing.without(noted[place]) for place, account in by_place.items()}
    there = offsets.with_record(spark, settings.kafka, _within(rest, _ends(settings, known)))
    ends = _ends(settings, known)  # anew: what was deleted meanwhile was not empty
    kept = _within(rest, ends)
    entries = []
    for place, account in by_place.items():
        in_kafka = there.get(place, NO_RANGES)
        missing = {
            KNOWN: account.missing.within(noted[place]),
            GONE: rest[place].without(kept[place]),
            EMPTY: kept[place].without(in_kafka),
            LOST: kept[place].within(in_kafka),
        }
        entries.append(Entry(account, missing, max(0, ends[place][1] - account.read.until)))
    return entries


def _within(ranges: Mapping[Partition, Ranges], ends: Mapping[Partition, tuple[int, int]]) -> dict[Partition, Ranges]:
    """What Kafka holds, of these offsets."""
    return {place: some.within(Ranges.of([Range(*ends[place])])) for place, some in ranges.items()}


def _ends(settings: Settings, known: Iterable[Account]) -> dict[Partition, tuple[int, int]]:
    """First and next offset of each partition, as the broker says."""
    options = {**librdkafka_options(settings.kafka), "group.id": "check_ledger", "enable.auto.commit": "false"}
    with closing(Consumer(options)) as consumer:
        try:
            return {
                (one.topic, one.partition): consumer.get_watermark_offsets(
                    TopicPartition(one.topic, one.partition), timeout=PATIENCE
                )
                for one in known
            }
        except KafkaException as error:
            raise EnvironmentProblem(
                f"The broker at {settings.kafka.bootstrap_servers} does not say what it holds: {error.args[0]}. "
                "See that it runs and that kafka.security_protocol and the settings below it fit its listener."
            ) from None


def read_offsets(spark: SparkSession, settings: Settings) -> dict[Partition, Range]:
    """What ingest_events has read and finished, from its checkpoint."""
    folder = checkpoint(settings, INGEST.query)
    there = Checkpoint(HadoopFolder(spark, folder))
    done, begin = there.finished(), there.kafka_begin()
    if not done or begin is None:
        raise BehaviorError(
            f"ingest_events has not finished a batch yet (checkpoint {folder}): there is nothing to account for."
        )
    ends = there.kafka_ends(max(done))
    return {partition: Range(begin.get(partition, 0), end) for partition, end in ends.items()}


def noted_gaps(lake: Lake) -> dict[Partition, tuple[Range, ...]]:
    """What ingest noted as deleted by Kafka before it was read."""
    if not lake.exists(LEDGER_GAPS):
        return {}
    gaps: dict[Partition, tuple[Range, ...]] = {}
    for row in lake.read(LEDGER_GAPS).select("topic", "partition", "first", "until").distinct().collect():
        place = (row["topic"], row["partition"])
        gaps[place] = (*gaps.get(place, ()), Range(row["first"], row["until"]))
    return gaps
