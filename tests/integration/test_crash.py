"""Ingest is killed at random moments, and the broker with it, while a producer goes on: nothing lost, nothing twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from features.tables import EVENTS, REJECTED_EVENTS
from jobs import ingest_events
from kafka.ledger import audit
from kafka.producer import EventProducer
from lake.spark_tables import Lake
from local.broker import EmbeddedBroker
from settings import Settings, load_settings
from tests.conftest import JAVA
from tests.integration.conftest import lasting_port
from tests.paths import PROJECT

pytestmark = pytest.mark.integration

KILLS = int(os.environ.get("BEHAVIOR_TEST_KILLS", "5"))
TOPIC = "crash"
PAUSE = 0.01
"""Seconds between two events of the producer."""
PATIENCE = 300.0
"""Seconds to wait for anything: other programs may leave this one little of the machine."""


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    # Everybody keeps its address over kills, so it must come back there: not at 9092, which another broker may have.
    with EmbeddedBroker(tmp_path / "kafka", tmp_path / "logs", preferred_port=lasting_port()) as broker:
        broker.create_topic(TOPIC, 4)
        yield broker


class Sender(threading.Thread):
    """Sends events with ids, and every tenth record as no event, until told to stop; counts what Kafka must hold."""

    def __init__(self, servers: str) -> None:
        super().__init__(daemon=True)
        self.servers, self.events, self.others, self.finish = servers, 0, 0, threading.Event()
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            self._send()
        except Exception as error:  # noqa: BLE001 - the test raises it
            self.failure = error

    def _send(self) -> None:
        with EventProducer(self.servers, TOPIC, timeout=PATIENCE) as producer:
            while not self.finish.wait(PAUSE):
                if self.events and self.events % 10 == 0 and self.others < self.events // 10:
                    producer.send_raw(b"no event", None)
                    self.others += 1
                else:
                    producer.send(
                        {
                            "user_id": f"user-{self.events % 50}",
                            "action": "view",
                            "page": "/page",
                            "timestamp": datetime.now(UTC),
                            "event_id": f"event-{self.events}",
                        }
                    )
                    self.events += 1
            producer.flush()


def wait_for_batch(settings: Settings, after: int, job: subprocess.Popen[bytes], log: Path) -> None:
    """Until the job has finished a batch; a job that has ended, or takes too long, is shown with what it said."""
    end = time.monotonic() + PATIENCE
    while commits(settings) <= after:
        said = f"; it said: {log.read_text(encoding='utf-8', errors='replace')[-2000:]}"
        assert job.poll() is None, f"the job has ended with {job.returncode}{said}"
        assert time.monotonic() < end, f"no batch was finished within {PATIENCE:.0f} s{said}"
        time.sleep(0.05)


@pytest.mark.timeout(3600)  # five starts of Spark beside whatever else the machine has to do
def test_killed_at_random_moments_it_loses_and_doubles_nothing(
    spark: SparkSession, own_broker: EmbeddedBroker, tmp_path: Path
) -> None:
    chance = random.Random(os.environ.get("BEHAVIOR_TEST_SEED", "11"))
    changes = [
        f"storage.root={tmp_path}/lake",
        f"storage.checkpoints={tmp_path}/checkpoints",
        f"kafka.bootstrap_servers={own_broker.bootstrap_servers}",
        f"kafka.topic={TOPIC}",
        "kafka.max_offsets_per_trigger=1000",  # so that a backlog takes several batches, in which it may be killed
        "spark.master=local[2]",
        "spark.driver_memory=1g",
        f"spark.java_options={JAVA}",
    ]
    settings = load_settings("local", changes)
    lake = Lake(spark, settings.storage.root)
    lake.create(EVENTS, REJECTED_EVENTS)
    sender = Sender(own_broker.bootstrap_servers)
    sender.start()
    for number in range(KILLS):
        before, log = commits(settings), tmp_path / f"job-{number}.log"
        job = started(changes, log)
        try:
            wait_for_batch(settings, before, job, log)
            time.sleep(chance.uniform(0.0, 2.0))  # the moment is what is random here
            if number % 3 == 2:
                own_broker.kill()
                own_broker.start()
                assert not own_broker.uses_other_port
        finally:
            os.killpg(job.pid, signal.SIGKILL)
            job.wait()
    sender.finish.set()
    sender.join(PATIENCE)
    assert not sender.is_alive()
    assert sender.failure is None
    at_once = load_settings("local", [*changes, "kafka.max_offsets_per_trigger=100000"])
    ingest_events.start(spark, lake, at_once, once=True).awaitTermination()

    entries = audit(spark, lake, settings)
    assert sum(entry.difference + entry.unread for entry in entries) == 0
    events = lake.read(EVENTS)
    assert events.count() == sender.events
    assert events.agg(F.count_distinct("event_id")).collect()[0][0] == sender.events
    assert lake.read(REJECTED_EVENTS).where("reason = 'not_json'").count() == sender.others


def started(changes: list[str], log: Path) -> subprocess.Popen[bytes]:
    """The job as a user starts it, in a process group of its own: Python and Java die in the same moment."""
    words = [word for change in changes for word in ("--set", change)]
    command = [sys.executable, "-m", "jobs.ingest_events", "--env", "local", *words]
    with log.open("wb") as out:
        return subprocess.Popen(command, cwd=PROJECT, stdout=out, stderr=out, start_new_session=True)


def commits(settings: Settings) -> int:
    """The newest batch that ingest has finished."""
    folder = Path(settings.storage.checkpoints, "ingest_events", "commits")
    return max((int(file.name) for file in folder.glob("[0-9]*")), default=-1)
