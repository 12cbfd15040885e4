"""Laws of maintain_tables on a real stream's tables."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest
from delta.tables import DeltaTable
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from features.counts import COUNT_NAMES
from features.errors import BehaviorError
from features.tables import EVENTS, FEATURE_TABLE, TILES, Table
from features.tiles import MEASURES
from jobs import build_features
from jobs.maintain_tables import maintain
from lake.rewrites import alone
from streams import retention
from streams.retention import drop_replaced, fold_tiles, retention_hours
from tests.integration.upkeep import Act, Platform, small_platform

pytestmark = [pytest.mark.integration, pytest.mark.slow]

ALL_AT_ONCE = ("maintenance.fold_after_minutes=0", "maintenance.keep_revisions_hours=0")


def acts(first: float, count: int = 6) -> list[Act]:
    return [(user, first + 0.1 * n, f"/{n % 3}") for n in range(count) for user in ("ada", "bob")]


@pytest.fixture
def platform(spark: SparkSession, tmp_path: Path) -> Platform:
    return small_platform(spark, tmp_path, *ALL_AT_ONCE)


def build(platform: Platform, *batches: list[Act]) -> None:
    for batch in batches:
        platform.arrive(batch)
        platform.build()


def sums(platform: Platform) -> list[tuple[object, ...]]:
    tiles = platform.read(TILES)
    totals = [F.sum(n) if n in COUNT_NAMES else F.max(n) for n in MEASURES]
    return sorted(
        map(tuple, tiles.groupBy("user_id", "window_start", "page").agg(*totals).drop("second_mask").collect())
    )


def test_folding_leaves_one_tile_per_key_and_a_batch_that_runs_again_counts_nothing_twice(platform: Platform) -> None:
    build(platform, acts(0), acts(0.3), acts(0.6), acts(0.2))
    before, rows = sums(platform), platform.read(TILES).count()
    said = fold_tiles(platform.lake, platform.settings)
    assert said is not None
    assert platform.read(TILES).count() < rows
    folded = platform.read(TILES).where("batch_id like 'fold:%'")
    assert folded.groupBy("user_id", "window_start", "page").count().where("count > 1").isEmpty()
    assert [row[:4] for row in sums(platform)] == [row[:4] for row in before]

    newest = platform.newest().drop("batch_time", "batch_id").collect()
    platform.forget_last_commit(build_features.QUERY)
    platform.build()
    assert platform.parity() == (0, 0, 0)
    assert sorted(newest) == sorted(platform.newest().drop("batch_time", "batch_id").collect())
    build(platform, acts(0.4))
    assert platform.parity() == (0, 0, 0)


def test_a_batch_without_its_finish_noted_is_never_folded(platform: Platform) -> None:
    build(platform, acts(0), acts(0.3), acts(0.6))
    platform.forget_last_commit(build_features.QUERY)
    platform.forget_last_commit(build_features.QUERY)
    fold_tiles(platform.lake, platform.settings)
    assert platform.read(TILES).where("batch_id like 'fold:%'").isEmpty()


def test_replaced_revisions_go_and_the_newest_of_every_key_stays(platform: Platform) -> None:
    build(platform, acts(0), acts(0.3), acts(2), acts(0.6))
    newest = sorted(platform.newest().collect())
    rows = platform.read(FEATURE_TABLE).count()
    drop_replaced(platform.lake, platform.settings, FEATURE_TABLE)
    assert platform.read(FEATURE_TABLE).count() < rows
    assert sorted(platform.newest().collect()) == newest
    assert platform.parity() == (0, 0, 0)


def rewrites(platform: Platform, table: Table) -> int:
    """Commits that wrote rows; those that only join files are none."""
    history = DeltaTable.forPath(platform.spark, platform.lake.path(table)).history()
    return history.where("operation = 'WRITE'").count()


@pytest.mark.parametrize(("rows", "commits"), [(5_000_000, [1, 1]), (16, [2, 1]), (1, [4, 4])])
def test_many_days_are_rewritten_in_one_commit_and_large_ones_in_several(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, rows: int, commits: list[int]
) -> None:
    monkeypatch.setattr(retention, "ROWS_A_COMMIT", rows)
    for late in (0, 0.3):
        build(platform, [act for day in (9000, 400, 399, 0) for act in acts(late - 1440 * day, 2)])
    build(platform, acts(400, 1))  # the newest batch is left alone
    before, newest = sums(platform), sorted(platform.newest().collect())
    before_it = [rewrites(platform, table) for table in (TILES, FEATURE_TABLE)]
    assert fold_tiles(platform.lake, platform.settings)
    assert drop_replaced(platform.lake, platform.settings, FEATURE_TABLE)
    after = [rewrites(platform, table) for table in (TILES, FEATURE_TABLE)]
    assert [new - old for old, new in zip(before_it, after, strict=True)] == commits
    assert ([row[:4] for row in sums(platform)], sorted(platform.newest().collect())) == (
        [row[:4] for row in before],
        newest,
    )
    assert platform.parity() == (0, 0, 0)


def test_maintenance_beside_live_streams_fails_none_and_shows_their_readers_every_row_once(
    platform: Platform, tmp_path: Path
) -> None:
    seen: list[tuple[str, str]] = []
    reader = (
        platform.lake.read_stream(FEATURE_TABLE, 1000)
        .writeStream.foreachBatch(
            lambda rows, _: seen.extend(
                (r[0], f"{r[1]} {r[2]}") for r in rows.select("user_id", "window_start", "batch_id").collect()
            )
        )
        .option("checkpointLocation", f"{tmp_path}/reader")
        .start()
    )
    platform.arrive(acts(0))
    writer = build_features.start(platform.spark, platform.lake, platform.settings)
    stop = threading.Event()

    def live() -> None:
        while not stop.is_set():
            platform.arrive(acts(0.3 * platform.arrivals))
            time.sleep(2)

    arriving = threading.Thread(target=live)
    arriving.start()
    try:
        while platform.arrivals < 4 or writer.lastProgress is None or writer.lastProgress["batchId"] < 2:
            time.sleep(0.5)
        notes = [n for one in maintain(platform.spark, platform.lake, platform.settings) for n in one.notes]
        stop.set()
        arriving.join()
        writer.processAllAvailable()
        reader.processAllAvailable()
        assert (writer.exception(), reader.exception()) == (None, None)
    finally:
        stop.set()
        arriving.join()
        writer.stop()
        reader.stop()
    assert platform.parity() == (0, 0, 0)
    assert len(seen) == len(set(seen))
    assert any("folded away" in note for note in notes), notes
    left = {
        (r[0], f"{r[1]} {r[2]}")
        for r in platform.read(FEATURE_TABLE).select("user_id", "window_start", "batch_id").collect()
    }
    assert left < set(seen)


def test_what_a_stopped_stream_has_not_read_is_kept_however_long_it_stops(platform: Platform) -> None:
    build(platform, acts(0))
    assert retention_hours(platform.spark, platform.lake, platform.settings, EVENTS) == 168
    platform.arrive(acts(1))
    commit = max(Path(platform.lake.path(EVENTS), "_delta_log").glob("*.json"))
    info, *actions = commit.read_text(encoding="utf-8").splitlines()
    written = json.loads(info)
    written["commitInfo"]["timestamp"] = round((time.time() - 400 * 3600) * 1000)
    commit.write_text("\n".join([json.dumps(written), *actions]), encoding="utf-8")
    commit.with_name(f".{commit.name}.crc").unlink(missing_ok=True)  # Hadoop's sum of what was there
    assert retention_hours(platform.spark, platform.lake, platform.settings, EVENTS) == 402


def test_files_are_joined_without_a_change_of_rows(platform: Platform) -> None:
    build(platform, acts(0), acts(0.3))
    rows = sorted(map(str, platform.read(EVENTS).collect()))
    done = {one.table.name: one for one in maintain(platform.spark, platform.lake, platform.settings)}
    assert (done["events"].before.files, done["events"].after.files) == (2, 1)
    assert sorted(map(str, platform.read(EVENTS).collect())) == rows
    build(platform, acts(4))
    assert platform.parity() == (0, 0, 0)


def test_jobs_that_rewrite_wait_for_each_other_with_the_name_of_the_other(platform: Platform) -> None:
    with (
        alone(platform.spark, platform.settings, "erase_user"),
        pytest.raises(BehaviorError, match=r"erase_user on .* is at work"),
    ):
        maintain(platform.spark, platform.lake, platform.settings)
    maintain(platform.spark, platform.lake, platform.settings)
