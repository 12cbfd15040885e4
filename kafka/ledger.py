"""The ledger of the topic: offsets that were read against rows of the tables, and what the broker says of the rest."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaException, TopicPartition
from pyspark.sql import SparkSession

from features.errors import BehaviorError, EnvironmentProblem
from features.ledger import Account, Partition, Range, accounts, record_kinds, split
from features.tables import EVENTS, LEDGER_GAPS, REJECTED_EVENTS
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
        absent = sum(len(finding.offsets) for finding in self.findings if finding.what not in (EMPTY, KNOWN))
        return absent + self.account.twice + self.account.strange


def audit(spark: SparkSession, lake: Lake, settings: Settings) -> list[Entry]:
    """One entry per topic and partition.

    Raises:
        BehaviorError: ingest_events has not finished a batch.
        EnvironmentProblem: no broker answers.
    """
    known = accounts(record_kinds(lake.read(EVENTS), lake.read(REJECTED_EVENTS)), read_offsets(spark, settings))
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


def _entry(consumer: Consumer, account: Account, gaps: Iterable[Range]) -> Entry:
    place = TopicPartition(account.topic, account.partition)
    low, high = consumer.get_watermark_offsets(place, timeout=PATIENCE)
    findings: list[Finding] = []
    for missing in account.missing:
        noted, others = split(missing, gaps)
        findings += [Finding(gap, KNOWN) for gap in noted]
        findings += [finding for other in others for finding in _broker_says(consumer, account, other, low)]
    return Entry(account, tuple(findings), max(0, high - account.read.until))


def _broker_says(consumer: Consumer, account: Account, missing: Range, low: int) -> Iterable[Finding]:
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
