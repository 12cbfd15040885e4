"""Kafka as it is in companies: many topics, brokers that go away, topics made again, retention that ran past us."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from pyspark.sql import functions as F

from features.errors import DataLossError, EnvironmentProblem
from features.ledger import Range
from features.tables import EVENTS, REJECTED_EVENTS
from jobs import ingest_events
from kafka.ledger import KNOWN, Finding, audit
from kafka.producer import EventProducer
from local.broker import EmbeddedBroker
from streams import queries
from tests.integration.conftest import Platform, lasting_port
from tests.integration.test_pipeline import people, send

pytestmark = pytest.mark.integration

AWAY = 150.0
"""Seconds a broker is away: longer than the minute after which Kafka's Java clients give up a call and the two minutes
after which our producer gives up a record, both unless told otherwise."""


@pytest.fixture(scope="module")
def own_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    """One that may be stopped: nobody else uses it."""
    folder = tmp_path_factory.mktemp("own-broker")
    with EmbeddedBroker(folder / "kafka", folder / "logs", preferred_port=lasting_port()) as broker:
        yield broker


def with_kafka(platform: Platform, **changes: Any) -> Platform:
    kafka = platform.settings.kafka.model_copy(update=changes)
    return replace(platform, settings=platform.settings.model_copy(update={"kafka": kafka}))


def until(condition: Callable[[], bool], what: str, seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.1)


def difference(platform: Platform) -> int:
    entries = audit(platform.spark, platform.lake, platform.settings)
    return sum(entry.difference for entry in entries)


@pytest.mark.slow
def test_a_broker_that_is_away_for_minutes_is_waited_for_and_then_given_up_in_a_sentence(
    platform: Platform, topic: str, own_broker: EmbeddedBroker
) -> None:
    own_broker.create_topic(topic, 2)
    sent = people(90)
    own = with_kafka(platform, bootstrap_servers=own_broker.bootstrap_servers)
    with EventProducer(own_broker.bootstrap_servers, topic, timeout=2 * AWAY) as producer:
        send(producer, *sent[:40])
        query = ingest_events.start(own.spark, own.lake, own.settings)
        try:
            until(lambda: own.read(EVENTS).count() == 40, "the first events")
            own_broker.kill()
            for event in sent[40:]:  # the app goes on meanwhile
                producer.send(event)
            time.sleep(AWAY)
            own_broker.start()
            assert not own_broker.uses_other_port
            producer.flush()
            until(lambda: own.read(EVENTS).count() == 90 or not query.isActive, "the rest of the events")
            assert query.isActive
        finally:
            query.stop()
    assert difference(own) == 0

    hasty = with_kafka(own, away_seconds=3)
    query = ingest_events.start(hasty.spark, hasty.lake, hasty.settings)
    own_broker.kill()
    try:
        with pytest.raises(EnvironmentProblem, match=f"No Kafka broker answers at {own_broker.bootstrap_servers}"):
            queries.finish(query, hasty.settings)
    finally:
        own_broker.start()
    own.ingest()
    assert own.read(EVENTS).count() == 90


def test_a_topic_deleted_and_made_again_is_noticed_before_its_first_records_are_skipped(
    platform: Platform, producer: EventProducer, broker: EmbeddedBroker, topic: str
) -> None:
    send(producer, *people(30))
    platform.ingest()
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    admin.delete_topics([topic])[topic].result(30)
    until(lambda: topic not in admin.list_topics(timeout=10).topics, "the end of the topic")
    with pytest.raises(EnvironmentProblem, match=f"has no topic {topic}"):
        platform.ingest()
    broker.create_topic(topic, 4)
    with EventProducer(broker.bootstrap_servers, topic) as anew:
        send(anew, *people(80, seed=6))
    with pytest.raises(DataLossError, match=f"Topic {topic} was deleted and made again"):
        platform.ingest()
    assert platform.read(EVENTS).count() == 30


def test_offsets_that_kafka_deleted_unread_are_named_and_on_demand_passed_over_as_a_known_gap(
    platform: Platform, producer: EventProducer, topic: str
) -> None:
    one = {**people(1)[0], "event_id": None}
    send(producer, *[one] * 10)
    platform.ingest()
    send(producer, *[one] * 20)
    (used,) = {row[0] for row in platform.read(EVENTS).select("partition").collect()}
    admin = AdminClient({"bootstrap.servers": platform.settings.kafka.bootstrap_servers})
    cut = TopicPartition(topic, used, 18)
    admin.delete_records([cut])[cut].result(30)
    with pytest.raises(DataLossError, match=rf"deleted 8 offsets before they were read \({topic} {used}: 10 to 17\)"):
        platform.ingest()
    assert platform.read(EVENTS).count() == 10

    with_kafka(platform, fail_on_data_loss=False).ingest()
    assert platform.read(EVENTS).count() == 22
    entries = audit(platform.spark, platform.lake, platform.settings)
    assert [found for entry in entries for found in entry.findings] == [Finding(Range(10, 18), KNOWN)]
    assert sum(entry.difference + entry.unread for entry in entries) == 0
    platform.ingest()


def test_several_topics_and_those_that_match_a_pattern_are_read_also_when_they_are_made_later(
    platform: Platform, broker: EmbeddedBroker, topic: str
) -> None:
    names = [f"{topic}-web", f"{topic}-app", f"{topic}-other"]
    for name in names[:2]:
        broker.create_topic(name, 1)

    def send_to(name: str, count: int, seed: int) -> None:
        with EventProducer(broker.bootstrap_servers, name) as producer:
            send(producer, *people(count, seed=seed))

    send_to(names[0], 11, 1)
    send_to(names[1], 12, 2)
    send_to(topic, 13, 3)
    with_kafka(platform, topics=tuple(names[:2]), min_partitions=4).ingest()
    matching = with_kafka(platform, topic_pattern=f"{topic}-.*", min_partitions=4)
    broker.create_topic(names[2], 1)
    send_to(names[2], 14, 4)
    matching.ingest()
    found = platform.read(EVENTS).groupBy("topic").count().collect()
    assert {row["topic"]: row["count"] for row in found} == {names[0]: 11, names[1]: 12, names[2]: 14}
    assert difference(matching) == 0


@pytest.mark.slow
@pytest.mark.parametrize("start", ["latest", "time", "offsets"])
def test_a_stream_without_a_checkpoint_begins_where_it_is_told(
    platform: Platform, producer: EventProducer, topic: str, start: str
) -> None:
    one = {**people(1)[0], "event_id": None}
    send(producer, *[one] * 10)
    with_kafka(platform, topic=topic).ingest()
    newest, used = platform.read(EVENTS).agg(F.max("received_at"), F.max("partition")).collect()[0]
    after = newest.astimezone() + timedelta(milliseconds=1)
    until(lambda: time.time() > after.timestamp() + 0.05, "a later time")
    offsets = json.dumps({topic: {str(n): 6 if n == used else 0 for n in range(4)}})
    told = {"latest": "latest", "time": after.isoformat(), "offsets": offsets}[start]
    fresh = replace(
        with_kafka(platform, starting_offsets=told),
        lake=replace(platform.lake, root=f"{platform.lake.root}-anew"),
    )
    fresh.lake.create(EVENTS, REJECTED_EVENTS)
    elsewhere = fresh.settings.storage.model_copy(
        update={"checkpoints": f"{fresh.settings.storage.checkpoints}-anew", "root": fresh.lake.root}
    )
    fresh = replace(fresh, settings=fresh.settings.model_copy(update={"storage": elsewhere}))
    fresh.ingest()
    send(producer, *[one] * 3)
    fresh.ingest()
    assert fresh.read(EVENTS).count() == {"latest": 3, "time": 3, "offsets": 7}[start]
    assert difference(fresh) == 0


def test_a_missing_checkpoint_beside_rejected_records_alone_is_refused(
    platform: Platform, producer: EventProducer
) -> None:
    producer.send_raw(b"no event", None)
    producer.flush()
    platform.ingest()
    Path(platform.settings.storage.checkpoints, "ingest_events").rename(
        Path(platform.settings.storage.checkpoints, "elsewhere")
    )
    with pytest.raises(DataLossError, match="table rejected_events"):
        platform.ingest()
