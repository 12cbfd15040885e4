"""Tiles are read back at every micro-batch: their small files stay few while the stream runs, without maintenance."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from delta.tables import DeltaTable
from pyspark.sql import SparkSession

from features.tables import FEATURE_TABLE, TILES, Table
from jobs import build_features
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
