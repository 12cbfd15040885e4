"""How a stream is stopped, and where its tables may be."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from features.tables import ERASURES, EVENTS
from lake import arrow_tables
from lake.spark_tables import Lake
from settings import load_settings
from streams import queries

pytestmark = pytest.mark.integration

LONG = 200_000
"""Characters of a trace, more than Spark's pattern can take."""


@pytest.fixture
def java_says(spark: SparkSession) -> Iterator[Any]:
    """What Java prints to its standard error meanwhile, such as the trace of a thread that died."""
    jvm: Any = spark.sparkContext._jvm  # noqa: SLF001
    before, said = jvm.java.lang.System.err, jvm.java.io.ByteArrayOutputStream()
    jvm.java.lang.System.setErr(jvm.java.io.PrintStream(said, True))
    yield said
    jvm.java.lang.System.setErr(before)


def test_stopped_in_the_middle_of_a_batch_it_ends_in_order(spark: SparkSession, tmp_path: Path, java_says: Any) -> None:
    settings = load_settings("local", [f"storage.root={tmp_path}/lake", f"storage.checkpoints={tmp_path}/checkpoints"])
    inside, ended = threading.Event(), threading.Event()

    def process(rows: DataFrame, _: queries.Batch) -> None:
        inside.set()
        try:
            rows.sparkSession.range(10**13).selectExpr("sum(hash(id))").collect()
        except Exception as error:
            said = f"py4j.protocol.Py4JJavaError: An error occurred while calling o1.collect.\n{error}"
            raise RuntimeError(said + "." * LONG) from error
        finally:
            ended.set()

    source = spark.readStream.format("rate").load()
    query = queries.start(source, "stopped", process, settings)
    assert inside.wait(120)
    query.stop()
    assert ended.wait(120)
    assert not query.isActive
    assert query.exception() is None
    assert "StackOverflowError" not in str(java_says.toString())


def test_a_folder_named_from_here_is_taken(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, os.path.relpath(tmp_path / "lake"))
    lake.create(EVENTS)
    assert lake.read(EVENTS).count() == 0
    assert (tmp_path / "lake" / EVENTS.name / "_delta_log").is_dir()


def test_only_a_table_without_a_row_is_new(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, str(tmp_path / "lake"))
    assert not lake.is_new(ERASURES), "there is none"
    lake.create(ERASURES)
    assert lake.is_new(ERASURES)
    person = [("a hash", "requested", datetime(2026, 1, 1, tzinfo=UTC), None)]
    lake.append(spark.createDataFrame(person, ERASURES.schema), ERASURES, batch_id="one")
    assert not lake.is_new(ERASURES)
    copied = Lake(spark, str(tmp_path / "copied"))
    spark.range(3).write.format("delta").save(copied.path(ERASURES))
    assert not copied.is_new(ERASURES), "its first commit has rows"


def test_times_of_older_files_are_read_beside_newer_ones(spark: SparkSession, tmp_path: Path) -> None:
    lake, form = Lake(spark, str(tmp_path)), "spark.sql.parquet.outputTimestampType"
    lake.create(ERASURES)
    moments = [datetime(2026, 1, 1, 12, 0, 0, second, tzinfo=UTC) for second in (1, 2)]
    now = spark.conf.get(form)
    assert now != "INT96"
    try:
        for moment, written_as in zip(moments, ("INT96", now), strict=True):
            spark.conf.set(form, str(written_as))
            row = [("a hash", "requested", moment, None)]
            lake.append(spark.createDataFrame(row, ERASURES.schema), ERASURES, batch_id="one")
    finally:
        spark.conf.set(form, str(now))
    assert sorted(lake.read(ERASURES).toArrow()["at"].to_pylist()) == moments
    assert sorted(arrow_tables.read(lake.root, ERASURES)["at"].to_pylist()) == moments
    recent = lake.read(ERASURES).where(f"at > timestamp'{moments[0].isoformat()}'")
    assert recent.toArrow()["at"].to_pylist() == moments[1:]
