"""Makes the archive of Java's classes with which jobs start sooner; the set-up begins it, and waits for nothing.

A small Spark does in a temporary folder what jobs do, and its Java writes down the classes that it has loaded when it
ends. Without it jobs start as before.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from features.ledger import Range, accounts, record_kinds
from features.parity import compare, corrections, report
from features.revisions import latest
from features.tables import EVENTS, FEATURE_TABLE
from jobs.shared.recompute import append_revisions, expected_rows, span_of
from lake.maintenance import compact
from lake.rewrites import delete_keys
from lake.spark_tables import Lake
from settings import Settings, load_settings
from spark import class_data
from spark.session import connector_jars, spark_session
from streams.rules import session_rules

SECONDS = 3600  # of a process that waits for everybody else


def main() -> None:
    """Make the archive, if it is not there; those of other Javas and jars are removed."""
    jars = connector_jars(load_settings("local").spark.jars or "")
    archive = class_data.archive(jars)
    if archive is None or archive.is_file():
        return
    archive.parent.mkdir(parents=True, exist_ok=True)
    with (archive.parent / ".lock").open("w") as lock, tempfile.TemporaryDirectory() as folder:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # another process makes it
        draft = Path(folder, "classes.jsa")
        command = [sys.executable, "-m", "tools.class_data", folder, str(draft)]
        try:
            subprocess.run(command, capture_output=True, text=True, check=True, timeout=SECONDS)
        except subprocess.SubprocessError as error:
            said = getattr(error, "stderr", None) or ""
            sys.exit(f"No archive of Java's classes was made. {error} {said.strip()[-300:]}")
        new = archive.with_suffix(".new")
        new.write_bytes(draft.read_bytes())
        for old in archive.parent.glob("*.jsa"):
            old.unlink()
        new.replace(archive)


def work(spark: SparkSession, settings: Settings) -> None:
    """What batch jobs do: read and add up, by Java and by Python workers, append, merge, rewrite, delete."""
    lake = Lake(spark, settings.storage.root)
    lake.create(EVENTS, FEATURE_TABLE)
    now = datetime.now(UTC)
    given = {"user_id": "u", "action": "view", "page": "/", "timestamp": now, "topic": "t", "ingested_at": now}
    for number in range(3):
        own = {**given, "partition": 0, "offset": number, "ingest_id": f"b:{number}"}
        row = [own.get(name) for name in EVENTS.columns]
        lake.append(spark.createDataFrame([row], EVENTS.schema).coalesce(1), EVENTS, batch_id=f"b:{number}")
    events = lake.read(EVENTS)
    span = span_of(events, lake.read(FEATURE_TABLE))
    assert span is not None
    expected = expected_rows(events, session_rules(settings), span)
    compared = compare(expected, latest(lake.read(FEATURE_TABLE), FEATURE_TABLE)).persist()
    report(compared).collect()
    append_revisions(lake, corrections(compared), "made", now)
    compared.unpersist()
    accounts(record_kinds(events, lake.read(EVENTS).withColumn("reason", F.lit("x")).limit(0)), {("t", 0): Range(0, 3)})
    delete_keys(lake, EVENTS, events.where("offset = 1").select("partition", "offset"), settings.maintenance)
    compact(lake, settings.maintenance, EVENTS)
    lake.vacuum(EVENTS, "RETAIN 24 HOURS")


def exercise(folder: str, draft: str) -> None:
    """Do what jobs do, and end when Java has written its archive to ``draft``."""
    settings = load_settings("local", [f"storage.root={folder}/lake", f"storage.checkpoints={folder}/checkpoints"])
    options = f"{settings.spark.java_options or ''} -XX:ArchiveClassesAtExit={draft} {' '.join(class_data.QUIET)}"
    spark_settings = settings.spark.model_copy(update={"java_options": options})
    spark = spark_session(settings.model_copy(update={"spark": spark_settings}))
    work(spark, settings)
    gateway = spark.sparkContext._gateway  # noqa: SLF001
    assert gateway is not None
    process = gateway.proc
    spark.stop()
    gateway.shutdown()
    process.stdin.close()
    process.wait()


if __name__ == "__main__":
    exercise(*sys.argv[1:]) if len(sys.argv) > 1 else main()
