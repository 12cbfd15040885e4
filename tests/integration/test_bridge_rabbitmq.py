"""The bridge between a real RabbitMQ and a real Kafka: nothing is lost, nothing is changed, nothing stops it."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import struct
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message, TopicPartition
from pika import BasicProperties, BlockingConnection, ConnectionParameters, PlainCredentials
from pika.adapters.blocking_connection import BlockingChannel
from pydantic import SecretStr

from features.tables import EVENTS, REJECTED_EVENTS
from kafka.producer import EventProducer
from local.broker import EmbeddedBroker
from privacy.mentions import People
from rabbitmq.amqp import WHY, forget
from rabbitmq.bridge import WAIT_FOR_EVER, Bridge, Moved
from settings import RabbitmqSettings
from tests.integration.conftest import Platform, lasting_port
from tests.paths import PROJECT
from tools.rabbitmq import RabbitServer, Unavailable

pytestmark = pytest.mark.integration

PERSISTENT = BasicProperties(delivery_mode=2)
MILLISECONDS = 1_700_000_000_000
"""As a time in seconds this is a year that no Python datetime has."""
KILLS = int(os.environ.get("BEHAVIOR_TEST_KILLS", "3"))
BROKER_DIES = KILLS > 5
"""In the long version, which `make crash` runs."""


@pytest.fixture(scope="module")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitServer]:
    server = RabbitServer(tmp_path_factory.mktemp("rabbitmq"))
    try:
        server.start()
    except Unavailable as reason:
        pytest.skip(str(reason))
    yield server
    server.stop()


@contextmanager
def channel(rabbit: RabbitServer) -> Iterator[BlockingChannel]:
    """With publisher confirms: what is published is in the queue."""
    credentials = PlainCredentials(rabbit.user, rabbit.password)
    with BlockingConnection(ConnectionParameters("127.0.0.1", rabbit.port, "/", credentials)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        yield channel


@pytest.fixture
def queue(rabbit: RabbitServer) -> str:
    name = f"events-{uuid.uuid4().hex[:8]}"
    with channel(rabbit) as open_channel:
        open_channel.queue_declare(name, durable=True)
    return name


def publish(
    rabbit: RabbitServer, queue: str, bodies: list[bytes], properties: BasicProperties = PERSISTENT, to: str = ""
) -> None:
    """In one transaction: a confirm for each message would take most of a test's time."""
    with BlockingConnection(
        ConnectionParameters("127.0.0.1", rabbit.port, "/", PlainCredentials(rabbit.user, rabbit.password))
    ) as connection:
        channel = connection.channel()
        channel.tx_select()
        for body in bodies:
            channel.basic_publish(to, queue, body, properties)
        channel.tx_commit()


def depth(rabbit: RabbitServer, queue: str) -> tuple[int, int]:
    """Messages that are not with a consumer, and the number of consumers."""
    with channel(rabbit) as open_channel:
        found = open_channel.queue_declare(queue, passive=True).method
        return found.message_count, found.consumer_count


def until(condition: Callable[[], bool], seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.02)


def ends(kafka: str, topic: str) -> dict[int, int]:
    """The number of records in each partition; a partition that was just made, or has come back, may need a moment."""
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": "test", "log_level": 0})
    end = time.monotonic() + 120
    try:
        while True:
            try:
                return {
                    number: consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10)[1]
                    for number in consumer.list_topics(topic, timeout=10).topics[topic].partitions
                }
            except KafkaException:
                if time.monotonic() > end:
                    raise
    finally:
        consumer.close()


def records(kafka: str, topic: str) -> list[Message]:
    wanted = ends(kafka, topic)
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": "test", "enable.auto.commit": False, "log_level": 0})
    try:
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in wanted])
        found: list[Message] = []
        while len(found) < sum(wanted.values()):
            got = consumer.consume(min(10_000, sum(wanted.values()) - len(found)), timeout=20)
            assert got, f"{len(found)} of {sum(wanted.values())} records could be read"
            found += got
        return found
    finally:
        consumer.close()


def settings(rabbit: RabbitServer, queue: str, prefetch: int = 1000) -> RabbitmqSettings:
    return RabbitmqSettings(
        host="127.0.0.1",
        port=rabbit.port,
        queue=queue,
        username=rabbit.user,
        password=SecretStr(rabbit.password),
        prefetch=prefetch,
    )


def bridge(
    rabbit: RabbitServer,
    queue: str,
    kafka: str,
    topic: str,
    *,
    once: bool = False,
    stop: threading.Event | None = None,
) -> Bridge:
    def producer() -> EventProducer:
        return EventProducer(kafka, topic, options=WAIT_FOR_EVER)

    return Bridge(settings(rabbit, queue), producer, once=once, stop=stop)


@contextmanager
def running(rabbit: RabbitServer, queue: str, kafka: str, topic: str) -> Iterator[list[Moved]]:
    """The bridge in a thread; the list has what it tells at its end."""
    stop, told = threading.Event(), list[Moved]()
    work = bridge(rabbit, queue, kafka, topic, stop=stop)
    thread = threading.Thread(target=lambda: told.append(work.run()), daemon=True)
    thread.start()
    try:
        yield told
    finally:
        stop.set()
        thread.join(60)
    assert told, "the bridge has ended with an error"


def command(rabbit: RabbitServer, queue: str, kafka: str, topic: str, *more: str) -> list[str]:
    chosen = [f"rabbitmq.port={rabbit.port}", f"rabbitmq.queue={queue}", f"rabbitmq.username={rabbit.user}"]
    sets = [word for one in chosen for word in ("--set", one)]
    where = ["--bootstrap-servers", kafka, "--topic", topic]
    return [sys.executable, "-m", "jobs.bridge_rabbitmq", *where, *sets, *more]


def environment(password: str | None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BEHAVIOR_RABBITMQ")}
    return kept if password is None else {**kept, "BEHAVIOR_RABBITMQ__PASSWORD": password}


def events(count: int) -> list[bytes]:
    all_have = {"action": "click", "page": "/", "timestamp": "2024-10-05T12:00:00Z"}
    return [json.dumps({"user_id": f"u{n % 50}", **all_have, "event_id": f"e{n}"}).encode() for n in range(count)]


def test_every_message_arrives_byte_for_byte_with_the_key_of_its_user(
    rabbit: RabbitServer, queue: str, broker: EmbeddedBroker, topic: str
) -> None:
    wanted: list[tuple[bytes, bytes | None]] = [
        (b'{"user_id": "a", "n":1}', b"a"),
        ('{"user_id":"Zoë 🐘"}'.encode(), "Zoë 🐘".encode()),
        (b'{"user_id":7}', None),
        (b'{"user_id":"","n":1}', None),
        (b'{"user_id":"\\ud800"}', None),
        (b'["user_id"]', None),
        (b"not JSON", None),
        (b"", None),
        (b"\x00\xff\xfe" * 100, None),
        (b"[" * 100_000, None),
        (os.urandom(900_000), None),
    ]
    publish(rabbit, queue, [body for body, _ in wanted])
    done = bridge(rabbit, queue, broker.bootstrap_servers, topic, once=True).run()
    assert (done.moved, done.undeliverable) == (len(wanted), 0)
    found = [(record.value(), record.key()) for record in records(broker.bootstrap_servers, topic)]
    assert Counter(found) == Counter(wanted)
    assert depth(rabbit, queue) == (0, 0)


def test_properties_and_headers_are_kept_as_text_whatever_they_hold(
    rabbit: RabbitServer, queue: str, broker: EmbeddedBroker, topic: str
) -> None:
    class SentByJavaScript(BasicProperties):
        """Has a header of the kind time, in milliseconds; pika could not send it."""

        def encode(self) -> list[bytes]:
            number = struct.pack(">q", MILLISECONDS)
            return [b"".join(super().encode()).replace(b"l" + number, b"T" + number)]

    properties = SentByJavaScript(
        message_id="m1",
        app_id="shop",
        timestamp=1_728_129_600,
        content_type="application/json",
        headers={
            "text": "Zoë",
            "bytes": b"\xff\x00",
            "number": 7,
            "truth": True,
            "nothing": None,
            "time": MILLISECONDS,
            "nested": {"list": [1, "two", None]},
            "nul\x00in its name": "x",
        },
    )
    publish(rabbit, queue, [b"{}"], properties)
    assert bridge(rabbit, queue, broker.bootstrap_servers, topic, once=True).run().moved == 1
    (record,) = records(broker.bootstrap_servers, topic)
    assert dict(record.headers() or []) == {
        "amqp_routing_key": queue.encode(),
        "amqp_message_id": b"m1",
        "amqp_app_id": b"shop",
        "amqp_timestamp": b"1728129600",
        "amqp_content_type": b"application/json",
        "amqp_header_text": "Zoë".encode(),
        "amqp_header_bytes": b"\xff\x00",
        "amqp_header_number": b"7",
        "amqp_header_truth": b"true",
        "amqp_header_nothing": b"null",
        "amqp_header_time": str(MILLISECONDS).encode(),
        "amqp_header_nested": b'{"list": [1, "two", null]}',
        "amqp_header_nul�in its name": b"x",
    }


@pytest.fixture
def mortal_broker(broker: EmbeddedBroker, topic: str, tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """Everybody's broker, or, where it is to be killed too, one of our own."""
    if not BROKER_DIES:
        yield broker
        return
    with EmbeddedBroker(tmp_path / "kafka", tmp_path / "logs", preferred_port=lasting_port()) as own:
        own.create_topic(topic, 4)
        yield own


@pytest.mark.timeout(3600)
def test_killed_at_any_moment_nothing_is_lost_little_is_repeated_and_nothing_is_twice_in_events(
    rabbit: RabbitServer, queue: str, mortal_broker: EmbeddedBroker, topic: str, platform: Platform
) -> None:
    prefetch, kafka = 300, mortal_broker.bootstrap_servers
    bodies = events(6_000 * KILLS)
    publish(rabbit, queue, bodies)
    chance = random.Random()
    for number in range(KILLS):
        moment = sum(ends(kafka, topic).values()) + chance.randint(1, 5000)
        words = command(rabbit, queue, kafka, topic, "--set", f"rabbitmq.prefetch={prefetch}")
        with subprocess.Popen(words, cwd=PROJECT, env=environment(rabbit.password)) as process:
            until(lambda moment=moment: sum(ends(kafka, topic).values()) >= moment)  # type: ignore[misc]
            if BROKER_DIES and number % 3 == 2:
                mortal_broker.kill()
                mortal_broker.start()
            assert process.poll() is None
            process.send_signal(signal.SIGKILL)
        until(lambda: depth(rabbit, queue)[1] == 0)
    assert BROKER_DIES or depth(rabbit, queue)[0] > 0, "it was done before the last kill, which then shows nothing"
    bridge(rabbit, queue, kafka, topic, once=True).run()
    assert depth(rabbit, queue) == (0, 0)
    found = Counter(record.value() for record in records(kafka, topic))
    assert set(found) == set(bodies)
    repeated = found.total() - len(bodies)
    assert repeated <= KILLS * prefetch

    there = platform.settings.kafka.model_copy(update={"bootstrap_servers": kafka})
    replace(platform, settings=platform.settings.model_copy(update={"kafka": there})).ingest()
    taken = platform.read(EVENTS)
    assert (taken.count(), taken.select("event_id").distinct().count()) == (len(bodies), len(bodies))
    assert platform.read(REJECTED_EVENTS).where("reason = 'duplicate_event_id'").count() == repeated


def test_it_goes_on_when_rabbitmq_comes_back(
    rabbit: RabbitServer, queue: str, broker: EmbeddedBroker, topic: str
) -> None:
    bodies, kafka = events(6000), broker.bootstrap_servers
    publish(rabbit, queue, bodies[:3000])
    with running(rabbit, queue, kafka, topic) as told:
        until(lambda: sum(ends(kafka, topic).values()) > 0)
        rabbit.kill()
        rabbit.start()
        publish(rabbit, queue, bodies[3000:])
        until(lambda: {record.value() for record in records(kafka, topic)} == set(bodies))
    assert told[0].moved >= 3000
    assert depth(rabbit, queue) == (0, 0)


@pytest.mark.slow
def test_it_waits_for_kafka_and_goes_on_when_it_comes_back(rabbit: RabbitServer, queue: str, tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path / "kafka", tmp_path / "logs", preferred_port=lasting_port()) as kafka:
        kafka.create_topic("actions", 2)
        bodies = events(3000)
        publish(rabbit, queue, bodies[:1000])
        with running(rabbit, queue, kafka.bootstrap_servers, "actions") as told:
            until(lambda: sum(ends(kafka.bootstrap_servers, "actions").values()) == 1000)
            kafka.kill()
            publish(rabbit, queue, bodies[1000:])
            until(lambda: depth(rabbit, queue) == (1000, 1))  # the other 1000 are under way: the prefetch
            kafka.start()
            until(lambda: sum(ends(kafka.bootstrap_servers, "actions").values()) >= 3000)
        assert told[0].moved == 3000
        assert depth(rabbit, queue) == (0, 0)
        # An idempotent producer that waited has repeated nothing.
        assert Counter(one.value() for one in records(kafka.bootstrap_servers, "actions")) == Counter(bodies)


def test_what_kafka_never_takes_goes_to_another_queue_and_the_rest_goes_on(
    rabbit: RabbitServer, queue: str, broker: EmbeddedBroker
) -> None:
    topic = f"small-{uuid.uuid4().hex[:8]}"
    broker.create_topic(topic, 1, {"max.message.bytes": "20000"})
    # Random bytes, which cannot be compressed. The small ones make batches that are too large with them, and alone are
    # not: an answer is about a batch.
    small = [os.urandom(3000) for _ in range(60)]
    for_the_broker, for_the_client = os.urandom(50_000), os.urandom(1_500_000)
    tricky = BasicProperties(
        message_id="m1",
        user_id=rabbit.user,  # the server checks it; here it is the publisher's
        expiration="600000",
        headers={"CC": [queue], "x": "y"},  # as it would be sent to the first queue again, again and again
    )
    publish(rabbit, queue, small[:30])
    with channel(rabbit) as open_channel:
        open_channel.queue_declare(f"{queue}.other", durable=True)
        open_channel.exchange_declare(f"{queue}.x", "fanout")
        open_channel.queue_bind(queue, f"{queue}.x")
    publish(rabbit, "clicks", [for_the_broker], tricky, to=f"{queue}.x")
    publish(rabbit, queue, [for_the_client, *small[30:]])

    done = bridge(rabbit, queue, broker.bootstrap_servers, topic, once=True).run()
    assert (done.moved, done.undeliverable) == (60, 2)
    found = Counter(record.value() for record in records(broker.bootstrap_servers, topic))
    assert found == Counter(small)

    aside: dict[bytes, BasicProperties] = {}
    with channel(rabbit) as open_channel:
        open_channel.queue_declare(f"{queue}.undeliverable", durable=True)  # refused if it were not
        while (got := open_channel.basic_get(f"{queue}.undeliverable", auto_ack=True))[0] is not None:
            _, properties, body = got
            assert properties is not None
            assert body is not None
            aside[body] = properties
    assert set(aside) == {for_the_broker, for_the_client}
    assert {properties.delivery_mode for properties in aside.values()} == {2}
    kept = aside[for_the_broker]
    headers = dict(kept.headers or {})
    assert "too large" in str(headers.pop(WHY))
    assert "1500000 bytes is too large" in str(dict(aside[for_the_client].headers or {})[WHY])
    assert (kept.message_id, kept.expiration) == ("m1", None)
    assert headers == {
        "x": "y",
        "x-undeliverable-CC": [queue],
        "x-undeliverable-user_id": rabbit.user,
        "x-undeliverable-expiration": "600000",
    }


def test_messages_of_erased_people_leave_the_queue_of_undeliverable_ones_and_the_others_stay_in_their_order(
    rabbit: RabbitServer, queue: str
) -> None:
    chosen, name = settings(rabbit, queue), f"{queue}.undeliverable"
    assert forget(chosen, People(["person-to-forget"])) == f"RabbitMQ has no queue {name}."
    with channel(rabbit) as open_channel:
        open_channel.queue_declare(name, durable=True)
    big = b"x" * 5_000_000
    kept = [b'{"user_id":"bob"}', big + b"bob", b"not JSON"]
    theirs = [b'{"user_id":"person-to-forget"', big + b"person-to-forget" + big]
    publish(rabbit, name, [kept[0], theirs[0], kept[1], theirs[1], kept[2]])
    publish(rabbit, name, [b"by its header"], BasicProperties(delivery_mode=2, headers={"who": "person-to-forget"}))
    assert forget(chosen, People(["person-to-forget"])) == f"3 messages were removed from queue {name}."
    with channel(rabbit) as open_channel:
        assert [open_channel.basic_get(name, auto_ack=True)[2] for _ in range(4)] == [*kept, None]


def test_a_signal_ends_it_in_order_what_is_in_kafka_has_left_the_queue(
    rabbit: RabbitServer, queue: str, broker: EmbeddedBroker, topic: str
) -> None:
    bodies, kafka = events(20_000), broker.bootstrap_servers
    publish(rabbit, queue, bodies)
    pipe = subprocess.PIPE
    words = command(rabbit, queue, kafka, topic)
    with subprocess.Popen(words, cwd=PROJECT, env=environment(rabbit.password), stdout=pipe, text=True) as process:
        until(lambda: sum(ends(kafka, topic).values()) >= 1000)
        process.terminate()
        said, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    found = re.fullmatch(rf"(\d+) messages moved from {queue} to {topic} in \d+\.\d s\.\n", said)
    assert found, said
    moved = int(found[1])
    assert 1000 <= moved < len(bodies), "the signal came too late to show anything"
    assert len(records(kafka, topic)) == moved
    assert depth(rabbit, queue) == (len(bodies) - moved, 0)


@pytest.mark.parametrize(
    ("more", "password", "code", "said"),
    [
        ([], "wrong", 2, "refuses the user 'bridge'"),
        ([], None, 2, "set BEHAVIOR_RABBITMQ__PASSWORD in the environment"),
        (["--set", "rabbitmq.queue=nowhere"], "", 2, "has no queue 'nowhere' in its virtual host '/'"),
        (["--set", "rabbitmq.virtual_host=nowhere"], "", 2, "has no virtual host 'nowhere'"),
        (["--set", "rabbitmq.port=1"], "", 1, "RabbitMQ at 127.0.0.1:1 does not answer (Connection refused)"),
        (["--set", "rabbitmq.host=no.such.host.invalid"], "", 1, "RabbitMQ at no.such.host.invalid"),
        (["--topic", "nowhere"], "", 1, "has no topic 'nowhere'"),
        (["--bootstrap-servers", "127.0.0.1:1"], "", 1, "No Kafka broker answers at 127.0.0.1:1."),
    ],
)
def test_a_users_mistake_is_one_sentence_and_an_exit_code(
    rabbit: RabbitServer,
    queue: str,
    broker: EmbeddedBroker,
    topic: str,
    more: list[str],
    password: str | None,
    code: int,
    said: str,
) -> None:
    done = subprocess.run(
        command(rabbit, queue, broker.bootstrap_servers, topic, *more),
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=environment(rabbit.password if password == "" else password),
    )
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert rabbit.password not in done.stderr
