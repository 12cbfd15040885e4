"""The ledger finds what is lost, doubled or gone, and nothing else."""

from __future__ import annotations

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from delta.tables import DeltaTable
from pyspark.sql import functions as F

from features.ledger import Range
from features.tables import EVENTS
from kafka.ledger import GONE, LOST, Entry, Finding, audit
from kafka.producer import EventProducer
from tests.integration.conftest import Platform
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
