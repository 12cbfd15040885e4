"""What a real broker still holds of erased people."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from kafka.producer import EventProducer
from local.broker import EmbeddedBroker
from privacy.kafka_records import KafkaErasure
from privacy.mentions import People
from settings import KafkaSettings, load_settings

pytestmark = pytest.mark.integration

PERSON = "person-73f1-to-forget"
AT_ONCE = {"segment.ms": "1", "file.delete.delay.ms": "0"}
"""A file of its own for nearly every record, and none is kept for those who still read it."""


def kafka_of(broker: EmbeddedBroker, topic: str) -> KafkaSettings:
    places = [f"kafka.bootstrap_servers={broker.bootstrap_servers}", f"kafka.alerts_topic={topic}"]
    return load_settings("local", places).kafka


def send(broker: EmbeddedBroker, topic: str, *users: str) -> None:
    """An alert of each, in this order, each in a batch of its own."""
    with EventProducer(broker.bootstrap_servers, topic) as producer:
        for user in users:
            producer.send_raw(f'{{"user_id":"{user}"}}'.encode(), user.encode())
            producer.flush()


def there(broker: EmbeddedBroker, topic: str) -> list[tuple[str, bytes | None]]:
    """Key and value of all records that a reader still gets."""
    consumer = Consumer({"bootstrap.servers": broker.bootstrap_servers, "group.id": "reads", "log_level": 0})
    try:
        first, end = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=30)
        consumer.assign([TopicPartition(topic, 0, first)])
        found: list[tuple[str, bytes | None]] = []
        while len(found) < end - first:
            found += [((one.key() or b"").decode(), one.value()) for one in consumer.consume(100, timeout=1)]
        return found
    finally:
        consumer.close()


def files_with(broker: EmbeddedBroker, text: str) -> list[str]:
    return [str(file) for file in Path(broker.data_dir).rglob("*.log") if text.encode() in file.read_bytes()]


@pytest.mark.slow  # the broker looks for what may go every half a minute
@pytest.mark.parametrize("beside", [True, False], ids=["in one file with another's", "in a file of its own"])
def test_alerts_of_erased_people_leave_the_topic_and_in_the_end_the_broker_s_files(
    broker: EmbeddedBroker, topic: str, beside: bool
) -> None:
    name, person = f"alerts-{topic}", f"{PERSON}-{topic}"
    broker.create_topic(name, 1, AT_ONCE)
    if beside:
        with EventProducer(broker.bootstrap_servers, name) as producer:  # one batch, so one file
            for user in ("ann", person, "bob"):
                producer.send_raw(f'{{"user_id":"{user}"}}'.encode(), user.encode())
            producer.flush()
    else:
        send(broker, name, "ann", person, "bob")
    erasure, people = KafkaErasure(kafka_of(broker, name)), People([person])
    assert erasure.alerts(people) == f"1 alerts were removed from topic {name}."
    assert there(broker, name) == []
    assert erasure.alerts(people) == f"Topic {name} held no alert of them."
    end = time.monotonic() + 120
    while files_with(broker, person):
        assert time.monotonic() < end, "its files still hold the person"
        send(broker, name, "zoe")
        time.sleep(0.5)


def test_what_a_group_has_not_read_is_kept_for_it_and_said(broker: EmbeddedBroker, topic: str) -> None:
    name, group = f"alerts-{topic}", f"slow-{topic}"
    broker.create_topic(name, 1)
    send(broker, name, "ann", "bob", PERSON)
    consumer = Consumer({"bootstrap.servers": broker.bootstrap_servers, "group.id": group, "log_level": 0})
    consumer.commit(offsets=[TopicPartition(name, 0, 1)], asynchronous=False)
    consumer.close()
    said = KafkaErasure(kafka_of(broker, name)).alerts(People([PERSON]))
    assert f"group {group} has not read" in said
    assert [key for key, _ in there(broker, name)] == ["bob", PERSON]


def test_a_group_that_has_read_the_person_s_alerts_and_not_all_others_holds_up_only_those(
    broker: EmbeddedBroker, topic: str
) -> None:
    name, group = f"alerts-{topic}", f"slow-{topic}"
    broker.create_topic(name, 1)
    send(broker, name, PERSON, "bob", "zoe")
    consumer = Consumer({"bootstrap.servers": broker.bootstrap_servers, "group.id": group, "log_level": 0})
    consumer.commit(offsets=[TopicPartition(name, 0, 2)], asynchronous=False)
    consumer.close()
    assert KafkaErasure(kafka_of(broker, name)).alerts(People([PERSON])) == f"1 alerts were removed from topic {name}."
    assert [key for key, _ in there(broker, name)] == ["zoe"]


def test_in_a_compacted_topic_a_record_without_a_value_follows_under_the_person_s_key(
    broker: EmbeddedBroker, topic: str
) -> None:
    name = f"alerts-{topic}"
    broker.create_topic(name, 1, {"cleanup.policy": "compact"})
    send(broker, name, PERSON, "bob", PERSON)
    said = KafkaErasure(kafka_of(broker, name)).alerts(People([PERSON]))
    assert said.startswith(f"Topic {name} is compacted: 1 records without a value were sent")
    assert there(broker, name)[-1] == (PERSON, None)


def test_records_that_were_read_are_removed_and_later_ones_stay(broker: EmbeddedBroker, topic: str) -> None:
    name = f"acts-{topic}"
    broker.create_topic(name, 1)
    send(broker, name, PERSON, "bob", "zoe")
    KafkaErasure(kafka_of(broker, name)).records({(name, 0): 2})
    assert [key for key, _ in there(broker, name)] == ["zoe"]
