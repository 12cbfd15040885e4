"""Clocks that jump, and two drivers of one query: what is newest is told by order, and a batch by where it ends."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

import pytest
from pyspark.errors import StreamingQueryException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from features.errors import DataLossError
from features.tables import FEATURE_TABLE, TILES
from jobs import build_features
from lake.spark_tables import Lake
from lake.tail import Tail
from streams import queries
from tests.integration.test_stream_laws import Kill, MortalLake
from tests.integration.upkeep import Act, Platform, small_platform

pytestmark = pytest.mark.integration

HOUR = timedelta(hours=1)


class Clock(datetime):
    """The machine's clock, set wrong by ``off``."""

    off = timedelta()

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return datetime.now(tz) + cls.off

    @classmethod
    def fromtimestamp(cls, timestamp: float, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return datetime.fromtimestamp(timestamp, tz)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> type[Clock]:
    monkeypatch.setattr(Clock, "off", timedelta())
    monkeypatch.setattr(queries, "datetime", Clock)
    plan_of = queries.plan_of

    def planned(*asked: object) -> queries.Plan:
        plan = plan_of(*asked)  # type: ignore[arg-type]
        return replace(plan, time=plan.time + Clock.off)

    monkeypatch.setattr(queries, "plan_of", planned)
    return Clock


@pytest.fixture
def platform(spark: SparkSession, tmp_path: Path) -> Platform:
    return small_platform(spark, tmp_path, "stream.max_files_per_trigger=1", "stream.fenced=false")


def visit(minutes: float) -> list[Act]:
    return [("ada", minutes, "/a"), ("bob", minutes, "/b")]


def test_however_the_clock_jumps_the_newest_revision_is_the_last_one_written_and_a_watcher_sees_all(
    platform: Platform, clock: type[Clock]
) -> None:
    tail = Tail(platform.lake.root, FEATURE_TABLE)
    seen = 0
    for number, off in enumerate((3, -4, 2)):
        clock.off = off * HOUR
        for part in range(2):  # the second one is planned by the same start
            platform.arrive(visit(0.1 * (2 * number + part)))
        platform.build()
        rows = tail.poll(["user_id"])
        assert rows is not None
        seen += rows.num_rows
        if number == 1:  # a repair beside a clock that was set back is not hidden, and hides nothing that comes later
            platform.spoil("user_id = 'ada'", session_events=99.0)
            assert platform.parity(repair=True) == (0, 0, 1)
    assert platform.parity() == (0, 0, 0)
    assert seen == platform.read(FEATURE_TABLE).count()
    own = platform.read(FEATURE_TABLE).where(F.col("batch_id").rlike("^[0-9a-f-]{36}:[0-9]+$"))
    by_number = own.groupBy(F.substring_index("batch_id", ":", -1).cast("int"))
    times = [row[1] for row in sorted(by_number.agg(F.max("batch_time")).collect())]
    assert len(times) == 6
    assert times == sorted(set(times))


@pytest.mark.parametrize("table", [TILES.name, FEATURE_TABLE.name])
def test_a_batch_whose_clock_was_set_back_before_it_was_killed_is_found_and_not_written_again(
    platform: Platform, clock: type[Clock], monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    mortal = MortalLake(platform.spark, platform.lake.root, [Kill(0, table, after=True)])
    planned, ahead = queries.plan_of, datetime.now(UTC) + 5 * HOUR
    monkeypatch.setattr(queries, "plan_of", lambda *asked: replace(planned(*asked), time=ahead))
    platform.arrive(visit(0))
    for _ in range(2):
        try:
            build_features.start(platform.spark, mortal, platform.settings, once=True).awaitTermination()
            break
        except StreamingQueryException:
            clock.off = -HOUR
    assert not mortal.deaths
    assert platform.read(TILES).count() == 2
    assert platform.read(FEATURE_TABLE).count() == 2
    assert platform.parity() == (0, 0, 0)


def without_a_place(platform: Platform, folder: Path) -> str:
    """Checkpoints of another driver of the same query, which has not planned anything yet."""
    own = Path(platform.settings.storage.checkpoints, build_features.QUERY)
    other = folder / "other" / build_features.QUERY
    other.mkdir(parents=True)
    shutil.copy(own / "metadata", other / "metadata")
    other.joinpath("offsets").mkdir()
    return str(other.parent)


def test_a_driver_that_planned_the_same_batch_with_other_ends_is_stopped_in_a_sentence(
    spark: SparkSession, tmp_path: Path
) -> None:
    platform = small_platform(spark, tmp_path, "stream.fenced=true")
    platform.arrive(visit(0))
    platform.build()
    before = [sorted(map(str, platform.read(table).collect())) for table in (TILES, FEATURE_TABLE)]
    platform.arrive(visit(1))
    places = [f"storage.root={platform.lake.root}", f"storage.checkpoints={without_a_place(platform, tmp_path)}"]
    given = ["features.session_gap_minutes=3", "features.session_max_minutes=10", "features.own_past_minutes=25"]
    changes = [word for change in (*places, *given, "stream.fenced=true") for word in ("--set", change)]
    command = [sys.executable, "-m", "jobs.build_features", "--once", *changes]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode != 0
    told = done.stderr[done.stderr.index("Error") :]
    assert re.search(
        r"Batch \S+:0 reads until \{\S+, but table \w+ has a batch of that number that ends at \{", told
    ), told
    assert "Stop every driver of the query" in told
    assert before == [sorted(map(str, platform.read(table).collect())) for table in (TILES, FEATURE_TABLE)]


@pytest.mark.parametrize("kind", ["workers' files", "Spark's writer"])
def test_what_the_fence_refuses_is_silent_for_the_same_ends_and_an_error_for_others(
    spark: SparkSession, tmp_path: Path, kind: str
) -> None:
    platform = small_platform(spark, tmp_path, "stream.fenced=true")
    platform.arrive(visit(0))
    platform.build()
    rows = platform.read(TILES)
    query_id, number = str(rows.select("batch_id").first()[0]).split(":")  # type: ignore[index]
    there = platform.lake.ends_of(TILES, f"{query_id}:{number}")
    assert there is not None
    assert there.startswith("{")

    def write(batch: queries.Batch, lake: Lake = platform.lake) -> None:
        if kind == "Spark's writer":
            batch.append(lake, rows.select(TILES.columns), TILES)
        else:
            batch.commit(lake, [], TILES)

    write(queries.Batch(query_id, int(number), fenced=True, ends=there))
    for planned in (None, datetime(2026, 1, 1, tzinfo=UTC)):  # by the fence; by a look at the table after a start
        with pytest.raises(DataLossError, match="another driver of the same query has planned it otherwise"):
            write(queries.Batch(query_id, int(number), planned, fenced=True, ends=there.replace("1", "2")))
    write(queries.Batch(query_id, int(number) + 2, fenced=True, ends="{}"))
    with pytest.raises(DataLossError, match="has a later batch"):
        write(queries.Batch(query_id, int(number) + 1, fenced=True, ends="{}"))
    more = 0 if kind == "workers' files" else rows.count() // 2
    assert platform.read(TILES).count() == 2 + more
