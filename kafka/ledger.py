"""The ledger of the topic: offsets that were read against rows of the tables, and what the broker says of the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import reduce

import numpy as np
from confluent_kafka import Consumer, KafkaException, TopicPartition
from pyspark.sql import DataFrame, SparkSession

from features.errors import BehaviorError, EnvironmentProblem
from features.ledger import (
    NO_RANGES,
    Account,
    Partition,
    Range,
    Ranges,
    accounts,
    bitmaps,
    offsets_of,
    record_kinds,
)
from features.tables import EVENTS, LEDGER_GAPS, REJECTED_EVENTS
from kafka import source
from kafka.connection import librdkafka_options
from lake.hadoop_files import HadoopFolder
from lake.spark_tables import Lake
from settings import Settings
from streams.checkpoints import Checkpoint
from streams.flow import INGEST
from streams.queries import checkpoint

PATIENCE = 20.0
"""Seconds to wait for an answer of the broker."""
MAX_PARTS, WORTH_A_PART = 8, 100_000
"""Kafka is read in at most so many parts of a partition, apart by more than so many offsets: each costs a query."""
HIGHEST = 2**63 - 1
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
    gaps, ends = noted_gaps(lake), _ends(settings, known)
    by_place = {(account.topic, account.partition): account for account in known}
    noted = {place: Ranges.of(gaps.get(place, ())) for place in by_place}
    rest = {place: account.missing.without(noted[place]) for place, account in by_place.items()}
    kept = {place: ranges.within(Ranges.of([Range(ends[place][0], HIGHEST)])) for place, ranges in rest.items()}
    there = _held_by_kafka(spark, settings, kept)
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


def _held_by_kafka(
    spark: SparkSession, settings: Settings, held: Mapping[Partition, Ranges]
) -> dict[Partition, Ranges]:
    """Which of these offsets have a record in Kafka.

    Kafka is read once, from the first of a partition's offsets to the last; where they lie far apart, in several parts.
    """
    parts = {place: _parts(ranges) for place, ranges in held.items() if len(ranges)}
    if not parts:
        return {}
    rounds = [
        {place: [ranges[number]] for place, ranges in parts.items() if number < len(ranges)}
        for number in range(max(map(len, parts.values())))
    ]
    reads = [source.read_ranges(spark, settings.kafka, spans) for spans in rounds]
    counted = bitmaps(reduce(DataFrame.unionAll, [read.select("topic", "partition", "offset") for read in reads]))
    return {
        (topic, number): offsets_of(counted[(counted["topic"] == topic) & (counted["partition"] == number)])
        for topic, number in parts
    }


def _parts(ranges: Ranges) -> list[Range]:
    """At most :data:`MAX_PARTS` ranges that hold all of these, cut where most offsets lie between them."""
    between = ranges.first[1:] - ranges.until[:-1]
    widest = np.sort(np.argsort(between)[::-1][: MAX_PARTS - 1])
    cuts = widest[between[widest] > WORTH_A_PART]
    first = ranges.first[np.concatenate(([0], cuts + 1))].tolist()
    until = ranges.until[np.concatenate((cuts, [len(ranges) - 1]))].tolist()
    return [Range(begin, end) for begin, end in zip(first, until, strict=True)]


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
