"""Killed at random moments, and the broker with it, while a producer goes on: nothing is lost, nothing comes twice."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from features.revisions import latest
from features.tables import ALERTS, EVENTS, FEATURE_TABLE, REJECTED_EVENTS, SCORES, TILES
from jobs import check_parity, ingest_events, promote_model, train_model
from kafka.ledger import audit
from kafka.producer import EventProducer
from lake.spark_tables import Lake
from local.broker import EmbeddedBroker
from pipeline import one_pass, service
from settings import Settings, load_settings
from tests.conftest import JAVA
from tests.integration.conftest import lasting_port
from tests.integration.test_pipeline import people, send
from tests.paths import PROJECT

pytestmark = pytest.mark.integration

KILLS = int(os.environ.get("BEHAVIOR_TEST_KILLS", "3"))
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


def places(folder: Path, broker: EmbeddedBroker) -> list[str]:
    return [
        f"storage.root={folder}/lake",
        f"storage.checkpoints={folder}/checkpoints",
        f"model.tracking_uri=sqlite:///{folder}/mlflow.db",
        f"kafka.bootstrap_servers={broker.bootstrap_servers}",
        f"kafka.topic={TOPIC}",
        "kafka.embedded=false",
        "kafka.max_offsets_per_trigger=1000",  # so that a backlog takes several batches, in which it may be killed
        "alerts.kafka=false",
        "model.trees=50",
        "model.min_training_rows=20",
        "spark.master=local[2]",
        "spark.driver_memory=1g",
        f"spark.java_options={JAVA}",
    ]


@dataclass(frozen=True)
class Site:
    """Where the job that is killed works, and what looks at it afterwards."""

    broker: EmbeddedBroker
    folder: Path
    changes: list[str]
    lake: Lake

    @property
    def settings(self) -> Settings:
        return load_settings("local", self.changes)

    @property
    def at_once(self) -> Settings:
        """To take in what is left in one batch."""
        return load_settings("local", [*self.changes, "kafka.max_offsets_per_trigger=100000"])


@pytest.fixture
def site(spark: SparkSession, own_broker: EmbeddedBroker, tmp_path: Path) -> Site:
    changes = places(tmp_path, own_broker)
    lake = Lake(spark, load_settings("local", changes).storage.root)
    lake.create()
    return Site(own_broker, tmp_path, changes, lake)


def killed_again_and_again(job: str, site: Site) -> Sender:
    """Start the job and kill it at a random moment, every third time with the broker; returns who sent meanwhile."""
    chance, settings = random.Random(os.environ.get("BEHAVIOR_TEST_SEED", "11")), site.settings
    broker = site.broker
    sender = Sender(broker.bootstrap_servers)
    sender.start()
    for number in range(KILLS):
        before, log = commits(settings), site.folder / f"job-{number}.log"
        process = started(job, site.changes, log)
        try:
            wait_for_batch(settings, before, process, log)
            time.sleep(chance.uniform(0.0, 2.0))  # the moment is what is random here
            if number % 3 == 2:
                broker.kill()
                broker.start()
                assert not broker.uses_other_port
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    sender.finish.set()
    sender.join(PATIENCE)
    assert not sender.is_alive()
    assert sender.failure is None
    return sender


@pytest.mark.slow
@pytest.mark.timeout(3600)  # five starts of Spark beside whatever else the machine has to do
def test_ingest_killed_at_random_moments_loses_and_doubles_nothing(spark: SparkSession, site: Site) -> None:
    sender = killed_again_and_again("ingest_events", site)
    ingest_events.start(spark, site.lake, site.at_once, once=True).awaitTermination()
    assert_all_is_there_once(site, sender)


@pytest.mark.timeout(3600)
def test_the_one_pass_killed_at_random_moments_loses_and_doubles_nothing_on_the_whole_way(
    spark: SparkSession, site: Site
) -> None:
    known, lake = people(300), site.lake
    with EventProducer(site.broker.bootstrap_servers, TOPIC) as producer:
        send(producer, *known)
    with_a_model(spark, lake, site.settings)
    sender = killed_again_and_again("run_pipeline", site)
    service.run(spark, lake, site.at_once, once=True)

    assert_all_is_there_once(site, sender, len(known))
    parity = check_parity.check(spark, lake, site.settings, None)
    assert parity is not None
    assert parity.differences == 0
    newest, scored = latest(lake.read(FEATURE_TABLE), FEATURE_TABLE), latest(lake.read(SCORES), SCORES)
    for rows in (lake.read(TILES).select(F.col("events").alias("events_per_minute")), newest, scored):
        assert rows.agg(F.sum("events_per_minute")).collect()[0][0] == sender.events + len(known)
    of_sessions = latest(lake.read(ALERTS), ALERTS).where("state = 'open'").groupBy("user_id", "session_start").count()
    assert of_sessions.where("count > 1").isEmpty()


def with_a_model(spark: SparkSession, lake: Lake, settings: Settings) -> None:
    started = one_pass.start(spark, lake, settings, once=True)
    started.query.awaitTermination()
    started.stop()
    version = train_model.train(spark, lake, settings, train_model.TrainingOptions(trial=False))
    promote_model.promote(settings, version, force=True, why="test")


def assert_all_is_there_once(site: Site, sender: Sender, before: int = 0) -> None:
    lake = site.lake
    entries = audit(lake.spark, lake, site.settings)
    assert sum(entry.difference + entry.unread for entry in entries) == 0
    events = lake.read(EVENTS)
    assert events.count() == sender.events + before
    assert events.where("event_id LIKE 'event-%'").agg(F.count_distinct("event_id")).collect()[0][0] == sender.events
    assert lake.read(REJECTED_EVENTS).where("reason = 'not_json'").count() == sender.others


def started(job: str, changes: list[str], log: Path) -> subprocess.Popen[bytes]:
    """The job as a user starts it, in a process group of its own: Python and Java die in the same moment.

    Of an environment of one's own: with ``local``, run_pipeline would bring a broker and people along.
    """
    conf = log.parent / "conf"
    if not conf.exists():
        shutil.copytree(PROJECT / "conf", conf)
        shutil.copy(conf / "local.yaml", conf / "site.yaml")
    words = [word for change in changes for word in ("--set", change)]
    command = [sys.executable, "-m", f"jobs.{job}", "--env", "site", *words]
    env = {**os.environ, "BEHAVIOR_CONF_DIR": str(conf)}
    with log.open("wb") as out:
        return subprocess.Popen(command, cwd=PROJECT, env=env, stdout=out, stderr=out, start_new_session=True)


def commits(settings: Settings) -> int:
    """The newest batch that ingest has finished."""
    folder = Path(settings.storage.checkpoints, "ingest_events", "commits")
    return max((int(file.name) for file in folder.glob("[0-9]*")), default=-1)
