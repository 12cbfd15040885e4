"""The embedded broker: what it keeps, and when it ends."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from features.errors import EnvironmentProblem
from local.broker import PROJECT, EmbeddedBroker

pytestmark = pytest.mark.integration

OWNER = """
import sys
from pathlib import Path
from local.broker import EmbeddedBroker
broker = EmbeddedBroker(Path(sys.argv[1]) / "kafka", Path(sys.argv[1]) / "logs", preferred_port=int(sys.argv[2]))
broker.start()
broker.create_topic("kept", 1)
print(broker.pid, flush=True)
sys.stdin.read()
"""


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def new_broker(folder: Path, port: int = 0) -> EmbeddedBroker:
    return EmbeddedBroker(folder / "kafka", folder / "logs", preferred_port=port or free_port())


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    # Kafka's own settings files cannot hold such a path.
    with new_broker(tmp_path_factory.mktemp("böse, path")) as started:
        started.create_topic("actions", 4)
        yield started


def produce(broker: EmbeddedBroker, topic: str, values: list[str], timestamp: int = 0) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "log_level": 0})
    for value in values:
        producer.produce(topic, value.encode(), timestamp=timestamp)
    assert producer.flush(30) == 0


def consume(broker: EmbeddedBroker, topic: str, count: int, partitions: int = 4) -> list[Message]:
    consumer = Consumer({"bootstrap.servers": broker.bootstrap_servers, "group.id": "test", "log_level": 0})
    consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
    found: list[Message] = []
    end = time.monotonic() + 30
    while len(found) < count and time.monotonic() < end:
        found += [one for one in consumer.consume(count, timeout=1) if one.error() is None]
    consumer.close()
    return found


def values(messages: list[Message]) -> set[str]:
    return {(one.value() or b"").decode() for one in messages}


def test_records_have_the_time_of_their_arrival_whatever_the_producer_says(broker: EmbeddedBroker) -> None:
    year_2015 = 1_420_070_400_000
    produce(broker, "actions", ["one", "two"], timestamp=year_2015)
    found = consume(broker, "actions", 2)
    assert values(found) == {"one", "two"}
    assert {one.timestamp()[0] for one in found} == {TIMESTAMP_LOG_APPEND_TIME}
    assert min(one.timestamp()[1] for one in found) > year_2015


def test_a_topic_that_exists_is_left_as_it_is(broker: EmbeddedBroker) -> None:
    broker.create_topic("actions", 7)
    topics = AdminClient({"bootstrap.servers": broker.bootstrap_servers}).list_topics("actions", timeout=10).topics
    assert len(topics["actions"].partitions) == 4


def test_records_survive_a_kill_and_a_move_to_another_port(broker: EmbeddedBroker) -> None:
    broker.create_topic("survivors", 4)
    produce(broker, "survivors", ["before"])
    broker.kill()
    assert not broker.alive
    with socket.socket() as other_program:
        other_program.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other_program.bind(("127.0.0.1", broker.preferred_port))
        other_program.listen()
        broker.start()
    assert broker.uses_other_port
    produce(broker, "survivors", ["after"])
    assert values(consume(broker, "survivors", 2)) == {"before", "after"}


def test_a_broker_that_found_its_port_taken_comes_back_where_its_clients_know_it(tmp_path: Path) -> None:
    with socket.socket() as other_program:
        other_program.bind(("127.0.0.1", 0))
        other_program.listen()
        with new_broker(tmp_path, other_program.getsockname()[1]) as broker:
            first = broker.port
            assert broker.uses_other_port
            broker.kill()
            broker.start()
            assert broker.port == first


def test_a_folder_serves_one_run_and_the_broker_dies_with_it(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-c", OWNER, str(tmp_path), str(port)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=PROJECT, stdin=pipe, stdout=pipe, text=True) as owner:
        assert owner.stdout is not None
        broker_process = psutil.Process(int(owner.stdout.readline()))
        guard = broker_process.parent()
        assert guard is not None

        with pytest.raises(EnvironmentProblem, match=rf"in use by another run \(process {owner.pid}\)"):
            new_broker(tmp_path, port).start()

        owner.send_signal(signal.SIGKILL)
        _, still_alive = psutil.wait_procs([broker_process], timeout=30)
        assert not still_alive

    with new_broker(tmp_path, port) as next_run:
        assert not next_run.uses_other_port
        produce(next_run, "kept", ["there"])
        assert values(consume(next_run, "kept", 1, partitions=1)) == {"there"}

        # Should even the guard be killed, the next start ends the broker that is left.
        left = psutil.Process(next_run.pid)
        guard = left.parent()
        assert guard is not None
        guard.kill()
        guard.wait(10)
        with new_broker(tmp_path, port) as third_run:
            assert third_run.pid != left.pid
            assert values(consume(third_run, "kept", 1, partitions=1)) == {"there"}


def test_without_its_jars_the_way_to_get_them_is_named(tmp_path: Path) -> None:
    broker = EmbeddedBroker(tmp_path / "kafka", tmp_path / "logs", jars_dir=tmp_path)
    with pytest.raises(EnvironmentProblem, match="make setup"):
        broker.start()


def test_a_file_where_the_folder_should_be_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "kafka").touch()
    with pytest.raises(EnvironmentProblem, match="LOCAL=dir"):
        new_broker(tmp_path).start()
