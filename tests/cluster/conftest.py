"""A cluster, a bucket, a registry and a broker for the whole run; each module has tables of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import boto3
import deltalake
import pyarrow as pa
import pytest
import yaml

from features.tables import Table
from kafka.producer import EventProducer
from tests.cluster.programs import (
    SPARK_HOME,
    SparkCluster,
    mlflow_server,
    own_environment,
    program,
    s3_server,
    spark_cluster,
)
from tests.integration.secure_kafka import PASSWORD, USER, SecureBroker, token_service
from tests.paths import PROJECT
from tools import pack_environment, s3_jars, zip_jobs

KEY, SECRET = "a-key", "a secret/with+signs"
BUCKET = "behavior"
REGISTRY_USER, REGISTRY_PASSWORD = "shop", 'another p"assword: long'


@dataclass(frozen=True)
class Site:
    """What a company has: a cluster and, in ``conf``, where its services are. Nothing of it is the repository."""

    spark: SparkCluster
    folder: Path
    root: str
    env: dict[str, str]
    storage: dict[str, str]
    broker: SecureBroker
    topic: str

    def command(self, job: str, *arguments: str) -> list[str]:
        """As docs/deploy/standalone.md has it."""
        jars = sorted([*(self.folder / "jars").glob("*.jar")])
        words = [str(SPARK_HOME / "bin" / "spark-submit"), "--master", self.spark.master]
        words += ["--driver-memory", "1g", "--executor-memory", "900m", "--executor-cores", "1"]
        words += ["--conf", "spark.ui.enabled=false", "--conf", "spark.log.level=WARN"]
        words += ["--conf", f"spark.pyspark.python={self.folder}/environment/bin/python"]
        words += ["--jars", ",".join(map(str, jars)), "--py-files", str(self.folder / "behavior-jobs.zip")]
        return [*words, str(self.folder / "jobs" / f"{job}.py"), "--env", "cluster", *arguments]

    def submit(self, job: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(job, *arguments),
            cwd=self.folder,
            env=self.env | env,
            capture_output=True,
            text=True,
            timeout=1200,
            check=False,
        )

    def without_spark(self, job: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A job that needs none, by the packed environment's Python."""
        path = [self.folder / "behavior-jobs.zip", SPARK_HOME / "python" / "lib" / "pyspark.zip"]
        env = self.env | {"PYTHONPATH": ":".join(map(str, [*path, *(SPARK_HOME / "python" / "lib").glob("py4j*.zip")]))}
        command = [str(self.folder / "environment" / "bin" / "python"), "-m", f"jobs.{job}", "--env", "cluster"]
        return subprocess.run(
            [*command, *arguments], cwd=self.folder, env=env, capture_output=True, text=True, timeout=600, check=False
        )

    def started(self, job: str, *arguments: str) -> AbstractContextManager[subprocess.Popen[bytes]]:
        """The job under way; killed at the end of the block if it has not ended."""
        return program(self.command(job, *arguments), self.folder, self.env, f"{job}-{uuid.uuid4().hex[:4]}")

    def table(self, table: Table) -> deltalake.DeltaTable:
        return deltalake.DeltaTable(f"s3{self.root.removeprefix('s3a')}/{table.name}", storage_options=self.storage)

    def read(self, table: Table, columns: list[str] | None = None) -> pa.Table:
        return self.table(table).to_pyarrow_table(columns=columns)

    def commits(self, table: Table) -> int:
        """Newest version; -1 where there is no table yet."""
        place = f"s3{self.root.removeprefix('s3a')}/{table.name}"
        there = deltalake.DeltaTable.is_deltatable(place, storage_options=self.storage)
        return self.table(table).version() if there else -1


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zip, the packed environment and the jars, unpacked as on a node; ``conf`` is the site's."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copy(zip_jobs.build(PROJECT), folder)
    packed = PROJECT / pack_environment.TARGET
    if not packed.exists() or packed.stat().st_mtime < (PROJECT / "requirements.lock").stat().st_mtime:
        pack_environment.build(PROJECT)
    with tarfile.open(packed) as archive:
        archive.extractall(folder / "environment", filter="fully_trusted")
    (folder / "jars").mkdir()
    for jar in [*(PROJECT / ".jars" / "spark").glob("*.jar"), *s3_jars.fetch(PROJECT).glob("*.jar")]:
        os.link(jar, folder / "jars" / jar.name)
    shutil.copytree(PROJECT / "jobs", folder / "jobs", ignore=shutil.ignore_patterns("shared", "__*"))
    (folder / "conf").mkdir()
    shutil.copy(PROJECT / "conf" / "base.yaml", folder / "conf")
    return folder


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SparkCluster, str, str, SecureBroker]]:
    folder = tmp_path_factory.mktemp("services")
    (folder / "kafka").mkdir()
    with (
        s3_server(folder / "s3") as s3,
        mlflow_server(folder / "mlflow", REGISTRY_USER, REGISTRY_PASSWORD) as mlflow,
        token_service() as tokens,
        SecureBroker(folder / "kafka", tokens) as broker,
        spark_cluster(folder / "spark") as spark,
    ):
        broker.add_user()
        client = boto3.client(
            "s3", endpoint_url=s3, aws_access_key_id=KEY, aws_secret_access_key=SECRET, region_name="eu-west-1"
        )
        client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        yield spark, s3, mlflow, broker


@pytest.fixture(scope="module")
def site(build: Path, services: tuple[SparkCluster, str, str, SecureBroker]) -> Site:
    """A site with a fresh lake: addresses in its conf, secrets in its environment."""
    spark, s3, mlflow, broker = services
    name = uuid.uuid4().hex[:6]
    root, topic = f"s3a://{BUCKET}/{name}/lake", f"events-{name}"
    broker.create_topic(topic, 4)
    cluster = {
        "storage": {
            "root": root,
            "checkpoints": f"s3a://{BUCKET}/{name}/checkpoints",
            "snapshot_partitions": 2,
        },
        "s3": {"endpoint": s3, "region": "eu-west-1", "path_style": True},
        "spark": {"shuffle_partitions": 2},
        "kafka": {
            "bootstrap_servers": f"127.0.0.1:{broker.ports['SASL_SSL']}",
            "topic": topic,
            "alerts_topic": f"alerts-{name}",
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "SCRAM-SHA-512",
            "username": USER,
            "ca_file": str(broker.certificates.authority),
            "max_offsets_per_trigger": 500,
        },
        "model": {"tracking_uri": mlflow, "trees": 20, "min_training_rows": 20, "trial_users": 100},
        "log": {"format": "json"},
    }
    broker.create_topic(f"alerts-{name}", 1)
    (build / "conf" / "cluster.yaml").write_text(yaml.safe_dump(cluster), encoding="utf-8")
    secrets = {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "BEHAVIOR_KAFKA__PASSWORD": PASSWORD,
        "MLFLOW_TRACKING_USERNAME": REGISTRY_USER,
        "MLFLOW_TRACKING_PASSWORD": REGISTRY_PASSWORD,
    }
    env = own_environment() | secrets | {"SPARK_HOME": str(SPARK_HOME), "SPARK_LOCAL_IP": "127.0.0.1"}
    env["PYSPARK_DRIVER_PYTHON"] = str(build / "environment" / "bin" / "python")
    storage = {
        "aws_access_key_id": KEY,
        "aws_secret_access_key": SECRET,
        "aws_endpoint": s3,
        "aws_region": "eu-west-1",
        "allow_http": "true",
    }
    return Site(spark, build, root, env, storage, broker, topic)


@pytest.fixture
def producer(site: Site) -> Iterator[EventProducer]:
    """By the broker's open listener, as an app of the same data centre."""
    with EventProducer(site.broker.bootstrap_servers, site.topic) as producer:
        yield producer
