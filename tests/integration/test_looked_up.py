"""Tiles are read back at every micro-batch: their small files stay few while the stream runs, without maintenance."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from features.columns import shaped
from features.tables import FEATURE_TABLE, TILES, Table
from jobs import build_features
from jobs.runtime import table_files, table_reads
from jobs.runtime.lake import Lake
from jobs.runtime.table_files import Place, TableFiles
from jobs.runtime.table_reads import Wanted
from tests.integration.upkeep import Act, Platform, small_platform

pytestmark = pytest.mark.integration

FEW = 3


@pytest.fixture
def platform(spark: SparkSession, tmp_path: Path) -> Iterator[Platform]:
    name = "spark.databricks.delta.autoCompact.minNumFiles"
    before = str(spark.conf.get(name))
    spark.conf.set(name, str(FEW))
    yield small_platform(spark, tmp_path, "stream.max_files_per_trigger=1")
    spark.conf.set(name, before)


def files_of(platform: Platform, table: Table) -> int:
    detail = DeltaTable.forPath(platform.spark, platform.lake.path(table)).detail()
    return int(detail.select("numFiles").collect()[0][0])


def test_one_small_file_too_many_joins_them_and_a_batch_that_runs_again_still_counts_nothing_twice(
    platform: Platform,
) -> None:
    parts: list[list[Act]] = [[("ada", n, "/a"), ("bob", 0.5 * n, "/b")] for n in range(FEW)]
    for part in parts:
        platform.arrive(part)
    platform.build()
    assert (files_of(platform, TILES), files_of(platform, FEATURE_TABLE)) == (1, FEW)
    platform.forget_last_commit(build_features.QUERY)
    platform.build()
    assert platform.read(TILES).count() == 2 * FEW
    assert platform.parity() == (0, 0, 0)


NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
PEOPLE = ["ada", "Łódź 🦊", "", "user 7", "nobody"]
SEEN = [name for name in TILES.columns if name not in ("batch_time", "batch_id")]


def some_tiles(spark: SparkSession, number: int) -> DataFrame:
    """Of people and minutes that differ from ``number`` to ``number``; every third batch is q:1."""
    names = ", ".join(f"'{name}'" for name in PEOPLE[:-1])
    rows = spark.range(2_000).selectExpr(
        f"CASE WHEN id % 5 = 4 THEN concat('user ', id) ELSE element_at(array({names}), CAST(1 + id % 5 AS INT)) END"
        " AS user_id",
        f"timestamp_seconds({int(NOON.timestamp())} + 60 * pmod(xxhash64(id, {number}), 600)) AS window_start",
        "concat('/', id % 7) AS page", "id AS events", "id % 2 AS clicks", "id % 3 AS views", "0L AS interactions",
        "xxhash64(id) AS second_mask", "if(id % 4 = 0, id, NULL) AS session_mark",
        "if(id % 9 = 0, NULL, timestamp_micros(1772366400123456 + id)) AS last_received_at",
        f"timestamp_seconds({int(NOON.timestamp())}) AS batch_time", f"'q:{number % 3}' AS batch_id",
    )  # fmt: skip
    return shaped(rows.coalesce(1).sortWithinPartitions("user_id"), TILES.schema)


def test_people_are_read_by_workers_as_a_join_reads_them(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_reads, "TASK_BYTES", 20_000)
    monkeypatch.setattr(table_files, "GROUP_BYTES", 1)
    lake = Lake(spark, str(tmp_path))
    lake.create(TILES)
    wanted = Wanted(pa.array(PEOPLE), NOON + timedelta(minutes=100), NOON + timedelta(minutes=300), "q:1")

    def joined() -> list[str]:
        inside = (F.col("window_start") >= wanted.since) & (F.col("window_start") < wanted.until)
        people = F.col("user_id").isin(PEOPLE) & (F.col("batch_id") != wanted.not_batch)
        return sorted(map(repr, lake.read(TILES).where(inside & people).select(SEEN).collect()))

    def by_workers() -> list[str]:
        rows = lake.read_people(TILES, SEEN, wanted)
        assert rows is not None
        return sorted(map(repr, rows.collect()))

    found = by_workers()
    assert found == []
    for number in range(4):
        if number < 2:  # as workers write them, in many row groups
            with TableFiles(Place(lake.path(TILES)), TILES) as files:
                for part in some_tiles(spark, number).toArrow().to_batches(max_chunksize=300):
                    files.write(pa.Table.from_batches([part]))
                lake.commit(files.finish(), TILES, batch_id="workers")
        else:  # with times as Spark writes them by itself
            before = spark.conf.get("spark.sql.parquet.outputTimestampType")
            spark.conf.set("spark.sql.parquet.outputTimestampType", "INT96")
            lake.append(some_tiles(spark, number), TILES, batch_id="spark")
            spark.conf.set("spark.sql.parquet.outputTimestampType", str(before))
        found = by_workers()
        assert found == joined()
    assert len(found) > 100
    groups = [pq.ParquetFile(file).num_row_groups for file in tmp_path.joinpath(TILES.name).glob("*.parquet")]
    assert sorted(groups)[-2:] == [7, 7]

    log = tmp_path / TILES.name / "_delta_log"
    for number in range(4, 24):
        lake.append(some_tiles(spark, number).limit(5), TILES, batch_id="later")
    for old in range(20):  # as Delta clears a log of what its checkpoint has
        log.joinpath(f"{old:020d}.json").unlink()
    assert by_workers() == joined()


def test_rows_that_are_marked_as_deleted_are_left_to_spark(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, str(tmp_path))
    lake.create(TILES)
    wanted = Wanted(pa.array(PEOPLE), NOON, NOON + timedelta(days=1), "q:9")
    assert lake.read_people(TILES, SEEN, wanted) is not None
    spark.sql(f"ALTER TABLE delta.`{lake.address(TILES)}` SET TBLPROPERTIES (delta.enableDeletionVectors = true)")
    assert lake.read_people(TILES, SEEN, wanted) is None
