"""Every job of the main way under spark-submit, with the zip, from a folder that is not the project's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import deltalake
import pytest

from features.tables import EVENTS, REJECTED_EVENTS, SCORES
from kafka.producer import EventProducer
from local.broker import EmbeddedBroker
from tests.conftest import JAVA
from tests.integration.test_pipeline import people, send
from tests.paths import PROJECT
from tools.zip_jobs import build

pytestmark = pytest.mark.integration

Submit = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def submit(tmp_path: Path) -> Submit:
    """Runs a job with environment ``cluster``; what a cluster gives is set as a cluster's owner would."""
    build(PROJECT)
    program = Path(sys.executable).with_name("spark-submit")
    jars = ",".join(map(str, sorted((PROJECT / ".jars" / "spark").glob("*.jar"))))
    own = {name: text for name, text in os.environ.items() if not name.startswith("BEHAVIOR_")}
    variables = own | {
        "PYSPARK_PYTHON": sys.executable,
        "BEHAVIOR_STORAGE__ROOT": f"{tmp_path}/lake",
        "BEHAVIOR_STORAGE__CHECKPOINTS": f"{tmp_path}/checkpoints",
        "BEHAVIOR_STORAGE__SNAPSHOT_PARTITIONS": "2",
        "BEHAVIOR_MODEL__TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
        "BEHAVIOR_SPARK__SHUFFLE_PARTITIONS": "2",
    }
    begin = [str(program), "--master", "local[2]", "--driver-memory", "2g", "--jars", jars]
    begin += ["--driver-java-options", JAVA]
    begin += ["--conf", "spark.ui.enabled=false", "--py-files", str(PROJECT / "dist" / "behavior-jobs.zip")]

    def run(job: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*begin, str(PROJECT / "jobs" / f"{job}.py"), "--env", "cluster", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)

    return run


def test_the_way_from_kafka_to_scores(
    submit: Submit, broker: EmbeddedBroker, topic: str, producer: EventProducer, tmp_path: Path
) -> None:
    send(producer, *people(600))
    producer.send_raw(b"no event", None)
    producer.flush()
    kafka = ["--set", f"kafka.bootstrap_servers={broker.bootstrap_servers}", "--set", f"kafka.topic={topic}"]
    model = ["--set", "model.trees=20", "--set", "model.min_training_rows=20"]
    model += ["--set", "model.trial_users=100"]
    for job, *arguments in (
        ("ingest_events", "--once", *kafka),
        ("build_features", "--once"),
        ("train_model", *model),
        ("promote_model",),
        ("score_features", "--once"),
    ):
        done = submit(job, *arguments)
        assert done.returncode == 0, f"{job}: {done.stderr[-3000:]}"
    rows = {
        table.name: deltalake.DeltaTable(f"{tmp_path}/lake/{table.name}").to_pyarrow_table().num_rows
        for table in (EVENTS, REJECTED_EVENTS, SCORES)
    }
    assert (rows["events"], rows["rejected_events"]) == (600, 1)
    assert rows["scores"] > 0
