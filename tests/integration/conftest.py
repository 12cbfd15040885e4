"""One real broker for the run; each test has a topic, tables, checkpoints and a registry of its own."""

from __future__ import annotations

import random
import socket
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession

from features.tables import Table
from jobs import build_features, ingest_events, score_features
from kafka.producer import EventProducer
from lake.spark_tables import Lake
from local.broker import EmbeddedBroker
from settings import Settings, load_settings
from tests.paths import DATA


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder with recorded files; they are not part of the repository, and who has none skips."""
    if not DATA.is_dir():
        pytest.skip(f"no recorded data in {DATA}; set BEHAVIOR_DATA")
    return DATA


def lasting_port() -> int:
    """A free port for a server that goes away and comes back at the same place.

    Below the ports that the system gives to clients: one of those, which try to reach the server meanwhile, could be
    given just this port.
    """
    while True:
        port = random.randint(15_000, 32_000)
        with socket.socket() as server:
            try:
                server.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    folder = tmp_path_factory.mktemp("broker")
    with EmbeddedBroker(folder / "data", folder / "logs") as broker:
        yield broker


@pytest.fixture
def topic(broker: EmbeddedBroker) -> str:
    name = f"events-{uuid.uuid4().hex[:8]}"
    broker.create_topic(name, 4)
    return name


@pytest.fixture
def producer(broker: EmbeddedBroker, topic: str) -> Iterator[EventProducer]:
    with EventProducer(broker.bootstrap_servers, topic) as producer:
        yield producer


@dataclass(frozen=True)
class Platform:
    """The jobs, run as ``--once`` does, on tables and checkpoints of one test."""

    spark: SparkSession
    lake: Lake
    settings: Settings

    def ingest(self) -> None:
        ingest_events.start(self.spark, self.lake, self.settings, once=True).awaitTermination()

    def build(self) -> None:
        build_features.start(self.spark, self.lake, self.settings, once=True).awaitTermination()

    def score(self) -> None:
        score_features.start(self.spark, self.lake, self.settings, once=True).awaitTermination()

    def read(self, table: Table) -> DataFrame:
        return self.lake.read(table)

    def forget_last_commit(self, query: str) -> None:
        """As if the process had been killed after its last writes and before it could note that they were done."""
        commits = Path(self.settings.storage.checkpoints, query, "commits")
        newest = max((file for file in commits.iterdir() if file.name.isdigit()), key=lambda file: int(file.name))
        newest.unlink()
        commits.joinpath(f".{newest.name}.crc").unlink(missing_ok=True)


@pytest.fixture
def platform(spark: SparkSession, broker: EmbeddedBroker, topic: str, tmp_path: Path) -> Platform:
    settings = load_settings(
        "local",
        [
            f"storage.root={tmp_path}/lake",
            f"storage.checkpoints={tmp_path}/checkpoints",
            f"model.tracking_uri=sqlite:///{tmp_path}/mlflow.db",
            f"kafka.bootstrap_servers={broker.bootstrap_servers}",
            f"kafka.topic={topic}",
            "model.trees=50",
            "model.min_training_rows=20",
            "stream.max_files_per_trigger=1",
        ],
    )
    lake = Lake(spark, settings.storage.root)
    lake.create()
    return Platform(spark, lake, settings)
