"""The ledger finds what is lost, doubled or gone, and nothing else."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from delta.tables import DeltaTable
from pyspark.sql import functions as F

from features.errors import EnvironmentProblem
from features.ledger import Range, Ranges
from features.tables import EVENTS
from kafka import offsets, source
from kafka.ledger import EMPTY, GONE, LOST, Entry, Finding, audit
from kafka.producer import EventProducer
from lake.spark_tables import Lake
from local.broker import EmbeddedBroker
from tests.integration.conftest import Platform, lasting_port
from tests.integration.test_pipeline import people, send

pytestmark = pytest.mark.integration


def ledger(platform: Platform) -> list[Entry]:
    return audit(platform.spark, platform.lake, platform.settings)


def difference(platform: Platform) -> int:
    return sum(entry.difference for entry in ledger(platform))


def test_the_ledger_finds_every_kind_of_difference_and_no_other(platform: Platform, producer: EventProducer) -> None:
    sent = people(400)
    send(producer, *sent, sent[0], sent[1])
    producer.send_raw(b"no event", None)
    producer.flush()
    platform.ingest()
    whole = ledger(platform)
    assert sum(entry.account.events for entry in whole) == 400
    assert sum(entry.account.duplicates for entry in whole) == 2
    assert sum(entry.account.rejected for entry in whole) == 1
    assert sum(entry.difference + entry.unread for entry in whole) == 0

    send(producer, *people(7, seed=6))
    assert sum(entry.unread for entry in ledger(platform)) == 7, "what was not read yet is no difference"
    assert difference(platform) == 0

    events = platform.read(EVENTS)
    place = events.select("partition", "offset").where("offset > 1").orderBy("partition", "offset").first()
    assert place is not None
    one = events.where((F.col("partition") == place[0]) & (F.col("offset") == 1))
    doubled = one.withColumn("ingest_id", F.lit("x:0"))
    platform.lake.append(doubled, EVENTS, batch_id="x:0")
    condition = f"partition = {place[0]} AND offset = {place[1]}"
    DeltaTable.forPath(platform.spark, platform.lake.path(EVENTS)).delete(condition)
    entry = next(entry for entry in ledger(platform) if entry.account.partition == place[0])
    assert entry.findings == (Finding(Range(place[1], place[1] + 1), LOST),)
    assert (entry.account.twice, entry.difference) == (1, 2)

    admin = AdminClient({"bootstrap.servers": platform.settings.kafka.bootstrap_servers})
    cut = TopicPartition(platform.settings.kafka.topic, place[0], place[1] + 1)
    admin.delete_records([cut])[cut].result(30)
    entry = next(entry for entry in ledger(platform) if entry.account.partition == place[0])
    assert [found.what for found in entry.findings] == [GONE]


def in_transactions(platform: Platform, sizes: Iterable[tuple[int, bool]]) -> None:
    """Transactions of so many events, committed or not, to partition 0."""
    kafka = platform.settings.kafka
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "transactional.id": str(uuid.uuid4())})
    producer.init_transactions(30)
    for number, (size, is_committed) in enumerate(sizes):
        producer.begin_transaction()
        for event in people(size, seed=number):
            producer.produce(kafka.topic, json.dumps(event).encode(), partition=0)
        producer.flush(30)
        if is_committed:
            producer.commit_transaction(30)
        else:
            producer.abort_transaction(30)


def elsewhere(platform: Platform, isolation: str) -> Platform:
    """The same topic on tables of its own."""
    settings = platform.settings
    root = f"{settings.storage.root}-{isolation}"
    storage = settings.storage.model_copy(update={"root": root, "checkpoints": f"{root}-checkpoints"})
    kafka = settings.kafka.model_copy(update={"isolation": isolation})
    lake = Lake(platform.spark, root)
    lake.create()
    return replace(platform, lake=lake, settings=settings.model_copy(update={"storage": storage, "kafka": kafka}))


def test_what_was_aborted_is_no_behaviour_unless_that_is_asked_for(platform: Platform) -> None:
    in_transactions(platform, [(20, True), (10, False), (7, False), (5, True)])
    for isolation, read in (("read_committed", 25), ("read_uncommitted", 42)):
        there = elsewhere(platform, isolation)
        there.ingest()
        (entry,) = (entry for entry in ledger(there) if entry.account.partition == 0)
        assert (entry.account.events, entry.difference, entry.unread) == (read, 0, 0)
        assert entry.missing[EMPTY].offsets == 42 + 4 - read


def test_markers_lost_records_and_those_that_are_gone_are_told_apart_one_by_one(platform: Platform) -> None:
    in_transactions(platform, [(1, True)] * 60 + [(30, True), (4, False), (1, True)])
    platform.ingest()
    (whole,) = (entry for entry in ledger(platform) if entry.account.partition == 0)
    assert (whole.difference, whole.missing[EMPTY].offsets) == (0, 60 + 1 + 5 + 1)
    lost = [20, 40, 125, 126, 127]
    table = DeltaTable.forPath(platform.spark, platform.lake.path(EVENTS))
    table.delete(f"partition = 0 AND offset IN ({', '.join(map(str, (0, 2, 4, *lost)))})")
    cut = TopicPartition(platform.settings.kafka.topic, 0, 6)
    admin = AdminClient({"bootstrap.servers": platform.settings.kafka.bootstrap_servers})
    admin.delete_records([cut])[cut].result(30)
    (entry,) = (entry for entry in ledger(platform) if entry.account.partition == 0)
    assert entry.missing[LOST] == Ranges.of(Range(offset, offset + 1) for offset in lost)
    assert entry.missing[GONE] == Ranges.of([Range(0, 6)]), "nobody can say which of them were markers"
    assert entry.missing[EMPTY].offsets == whole.missing[EMPTY].offsets - 3
    assert entry.difference == len(lost) + 6


def test_what_lies_behind_the_end_of_a_shorter_topic_is_gone_and_not_empty(
    platform: Platform, producer: EventProducer, broker: EmbeddedBroker
) -> None:
    send(producer, *people(40))
    platform.ingest()
    (entry, *_) = (entry for entry in ledger(platform) if len(entry.account.read) > 3)
    place, last = entry.account.partition, entry.account.read.until - 1
    DeltaTable.forPath(platform.spark, platform.lake.path(EVENTS)).delete(f"partition = {place} AND offset = {last}")
    topic = platform.settings.kafka.topic
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    admin.delete_topics([topic])[topic].result(30)
    until(lambda: topic not in admin.list_topics(timeout=10).topics)
    broker.create_topic(topic, 4)
    (entry,) = (entry for entry in ledger(platform) if entry.account.partition == place)
    assert entry.findings == (Finding(Range(last, last + 1), GONE),)


def test_records_are_taken_from_several_ranges_of_a_partition_and_from_between_them_none(
    platform: Platform, broker: EmbeddedBroker
) -> None:
    kafka = platform.settings.kafka
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers})
    for _ in range(2 * source.NEAR + 100):
        producer.produce(kafka.topic, b"{}", partition=2)
    assert producer.flush(30) == 0
    edge = source.NEAR
    wanted = [Range(0, 1), Range(7, 9), Range(edge - 3, edge + 3), Range(edge + 90, 2 * edge + 1)]
    records = source.read_ranges(platform.spark, kafka, {(kafka.topic, 2): wanted})
    found = sorted(row[0] for row in records.select("offset").collect())
    assert found == [offset for one in wanted for offset in range(one.first, one.until)]


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.slow
def test_what_was_compacted_away_before_and_after_it_was_read_is_no_difference(
    platform: Platform, broker: EmbeddedBroker
) -> None:
    topic = f"{platform.settings.kafka.topic}-compacted"
    config = {"cleanup.policy": "compact", "segment.ms": "1000", "min.cleanable.dirty.ratio": "0.01"}
    broker.create_topic(topic, 1, config)
    kafka = platform.settings.kafka.model_copy(update={"topic": topic})
    own = replace(platform, settings=platform.settings.model_copy(update={"kafka": kafka}))

    def send_keyed(events: list[dict[str, object]], keys: Iterable[int]) -> None:
        producer = Producer({"bootstrap.servers": broker.bootstrap_servers})
        for key, event in zip(keys, events, strict=True):
            producer.produce(topic, json.dumps(event).encode(), str(key).encode())
        assert producer.flush(30) == 0

    there = {(topic, 0): Ranges.of([Range(0, 40)])}

    def held() -> Ranges:
        return offsets.with_record(own.spark, kafka, there).get((topic, 0), Ranges.of(())).within(there[(topic, 0)])

    sent = people(70)
    send_keyed(sent[:30], range(30))
    send_keyed(sent[30:40], range(0, 20, 2))  # these hide every second of the first twenty
    time.sleep(1.5)  # what is in the newest file is not compacted: another one begins with what comes later than this
    send_keyed(sent[40:41], [99])
    until(lambda: held().offsets == 30)
    own.ingest()
    (entry,) = ledger(own)
    assert (entry.account.events, entry.difference) == (31, 0)
    assert entry.missing[EMPTY] == Ranges.of(Range(offset, offset + 1) for offset in range(0, 20, 2))

    DeltaTable.forPath(own.spark, own.lake.path(EVENTS)).delete("offset IN (1, 20, 21, 35)")
    send_keyed(sent[41:44], [1, 20, 98])
    time.sleep(1.5)
    send_keyed(sent[44:45], [97])
    until(lambda: held().offsets == 28)
    (entry,) = ledger(own)
    assert entry.missing[LOST] == Ranges.of([Range(21, 22), Range(35, 36)]), "the others cannot be had any more"


def test_kafka_that_gives_nothing_is_told_and_its_offsets_are_not_called_empty(platform: Platform) -> None:
    nobody = f"127.0.0.1:{lasting_port()}"
    kafka = platform.settings.kafka.model_copy(update={"bootstrap_servers": nobody, "away_seconds": 1})
    asked = {(kafka.topic, 0): Ranges.of([Range(3, 9)])}
    with pytest.raises(EnvironmentProblem, match=rf"{nobody} does not give .* from offset 3 on: nothing came for 1 s"):
        offsets.with_record(platform.spark, kafka, asked)
