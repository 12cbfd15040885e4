"""Tiles are read back at every micro-batch: their small files stay few while the stream runs, without maintenance."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from features.columns import shaped
from features.tables import FEATURE_TABLE, TILES, Table
from jobs import build_features
from lake import person_rows, worker_files
from lake.location import TableLocation
from lake.person_rows import Selection
from lake.spark_tables import Lake
from lake.worker_files import TableFiles
from streams import look_back
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


def selection_of(*spans: tuple[str, int, int], not_batch: str = "q:1") -> Selection:
    """Of each name the minutes after noon from the first to before the last."""
    names, first, last = zip(*spans, strict=True)
    micros = [(int(NOON.timestamp()) + 60 * np.array(minutes)) * 1_000_000 for minutes in (first, last)]
    return Selection(pa.table({"user_id": names, "since": micros[0], "until": micros[1]}), not_batch)


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
    monkeypatch.setattr(person_rows, "TASK_BYTES", 20_000)
    monkeypatch.setattr(worker_files, "GROUP_BYTES", 1)
    lake = Lake(spark, str(tmp_path))
    lake.create(TILES)
    spans = dict.fromkeys(PEOPLE, (100, 300)) | {"ada": (0, 50), "user 7": (20, 120)}
    selection = selection_of(*[(name, first, last) for name, (first, last) in spans.items()], ("ada", 400, 450))

    def joined() -> list[str]:
        at, own = F.unix_micros("window_start"), spark.createDataFrame(selection.spans.to_pandas())
        tiles = lake.read(TILES).where(F.col("batch_id") != selection.not_batch)
        rows = tiles.join(own, "user_id").where((at >= F.col("since")) & (at < F.col("until")))
        return sorted(map(repr, rows.select(SEEN).collect()))

    def by_workers() -> list[str]:
        rows = lake.read_people(TILES, SEEN, selection)
        assert rows is not None
        return sorted(map(repr, rows.collect()))

    found = by_workers()
    assert found == []
    for number in range(4):
        if number < 2:  # as workers write them, in many row groups
            with TableFiles(TableLocation(lake.path(TILES)), TILES) as files:
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
    selection = selection_of(*[(name, 0, 1440) for name in PEOPLE])
    assert lake.read_people(TILES, SEEN, selection) is not None
    spark.sql(f"ALTER TABLE delta.`{lake.address(TILES)}` SET TBLPROPERTIES (delta.enableDeletionVectors = true)")
    assert lake.read_people(TILES, SEEN, selection) is None


def test_an_event_of_years_ago_reads_old_tiles_of_its_user_alone_and_the_others_read_only_their_near_past(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = small_platform(spark, tmp_path, "stream.max_files_per_trigger=1")
    year = 365 * 1440
    for years in (4, 3, 2, 1, 0):
        platform.arrive([(user, n - years * year, f"/{n}") for user in ("ada", "bob", "cyd") for n in (0, 3)])
    platform.build()
    old, near = 2 * year, 5.0
    platform.arrive([("ada", 1 - old, "/late"), *[(user, near, "/now") for user in ("ada", "bob", "cyd")]])
    files: list[str] = []
    rows: list[tuple[str, int]] = []
    rows_of = person_rows.rows_of

    def watched(*asked: Any) -> DataFrame:
        files.extend(file.path for file in asked[2])
        found = rows_of(*asked)
        rows.extend((row.user_id, row.window_start.year) for row in found.collect())
        return found

    monkeypatch.setattr(person_rows, "rows_of", watched)
    platform.build()
    assert (len(files), files_of(platform, TILES)) == (2, 6)
    assert sorted(rows) == sorted([("ada", 2024), *[(user, 2026) for user in ("ada", "bob", "cyd")]] * 2)
    assert platform.parity() == (0, 0, 0)
    changed = platform.read(FEATURE_TABLE).where("batch_id LIKE '%:5'")
    assert sorted((row.user_id, row.window_start.year) for row in changed.collect()) == [
        *[("ada", 2024)] * 2, ("ada", 2026), ("bob", 2026), ("cyd", 2026),
    ]  # fmt: skip


def test_where_workers_cannot_read_spark_reads_the_times_around_events_and_not_what_is_between(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = small_platform(spark, tmp_path)
    year = 365 * 1440
    platform.arrive(
        [(user, n - years * year, f"/{n}") for user in ("ada", "bob") for n in (0, 3) for years in (2, 1, 0)]
    )
    platform.build()
    platform.arrive([("ada", 1 - 2 * year, "/late"), ("bob", 5, "/now")])
    read: list[int] = []
    near_tiles = look_back.near_tiles

    def watched(lake: Lake, selection: Selection) -> DataFrame:
        near = near_tiles(lake, selection)
        read.extend(row.window_start.year for row in near.collect())
        return near

    monkeypatch.setattr(Lake, "read_people", lambda *_: None)
    monkeypatch.setattr(look_back, "near_tiles", watched)
    platform.build()
    assert sorted(read) == [2024] * 4 + [2026] * 4
    assert platform.parity() == (0, 0, 0)


def test_times_apart_are_joined_to_as_many_as_are_asked_for_the_nearest_first() -> None:
    selection = selection_of(("ada", 0, 10), ("bob", 5, 15), ("bob", 20, 30), ("cyd", 500, 510), ("cyd", 600, 610))
    minutes = [[(since - int(NOON.timestamp() * 1e6)) // 60_000_000 for since in pair] for pair in selection.windows()]
    assert minutes == [[0, 15], [20, 30], [500, 510], [600, 610]]
    few = [[(since - int(NOON.timestamp() * 1e6)) // 60_000_000 for since in pair] for pair in selection.windows(2)]
    assert few == [[0, 30], [500, 610]]
