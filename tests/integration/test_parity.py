"""Laws of check_parity on a real stream's tables."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from features.definitions import FEATURE_NAMES
from features.errors import BehaviorError
from features.tables import FEATURE_TABLE, PARITY_REPORTS
from streams.progress import position
from tests.integration.upkeep import Act, Platform, small_platform

pytestmark = [pytest.mark.integration, pytest.mark.slow]

FIRST: list[Act] = [("ada", 0, "/a"), ("ada", 1.5, "/b"), ("bob", 0.2, "/a")]
LATE: list[Act] = [("ada", 0.5, "/c"), ("ada", 9, "/a"), ("bob", 0.2, "/a")]


@pytest.fixture
def platform(spark: SparkSession, tmp_path: Path) -> Platform:
    return small_platform(spark, tmp_path)


def test_a_repair_makes_wrong_missing_and_unsupported_rows_right_and_says_what_was_wrong(platform: Platform) -> None:
    platform.arrive(FIRST)
    platform.build()
    assert platform.parity() == (0, 0, 0)

    right = platform.newest().drop("batch_time", "batch_id")
    expected = {(row.user_id, row.window_start): row for row in right.collect()}
    platform.spoil("user_id = 'ada' and session_minutes = 1", repeat_ratio=0.75, session_events=7.0)
    platform.spoil("user_id = 'ada' and session_minutes = 2", user_id="nobody")
    platform.spoil("user_id = 'bob'", events_per_minute=0.0)
    assert platform.parity() == (1, 1, 1)
    checks = {row.feature: row for row in platform.read(PARITY_REPORTS).where("different > 0").collect()}
    assert {name: row.largest_difference for name, row in checks.items() if name != "(rows)"} == {
        "repeat_ratio": 0.75,
        "session_events": 6.0,
    }

    assert platform.parity(repair=True) == (1, 1, 1)
    assert platform.parity() == (0, 0, 0)
    newest = {
        (row.user_id, row.window_start): row for row in platform.newest().drop("batch_time", "batch_id").collect()
    }
    retracted = [row for row in newest.values() if row.user_id == "nobody"]
    assert [(row.events_per_minute, row.session_events) for row in retracted] == [(0.0, 0.0)]
    assert {key: row for key, row in newest.items() if row.user_id != "nobody"} == expected


def test_events_and_revisions_of_unfinished_batches_are_no_differences_and_a_repair_never_covers_them(
    platform: Platform,
) -> None:
    platform.arrive(FIRST)
    platform.build()
    platform.spoil("user_id = 'ada'", repeat_ratio=0.5)
    platform.arrive(LATE)
    assert platform.parity() == (0, 0, 2)
    platform.build()
    platform.forget_last_commit("build_features")
    assert platform.parity(repair=True) == (0, 0, 2)
    platform.build()
    assert platform.parity() == (0, 0, 0)
    assert platform.newest().where("user_id = 'ada'").count() == 3


def test_only_the_asked_hours_are_compared_with_the_whole_past_before_them(platform: Platform) -> None:
    platform.arrive([*FIRST, ("ada", 15, "/a"), ("ada", 62, "/a"), ("ada", 75, "/a")])
    platform.build()
    platform.spoil("window_start < '2026-03-01 12:10:00'", repeat_ratio=0.5)
    assert platform.parity(hours=1) == (0, 0, 0)
    assert platform.parity()[2] > 0


def test_a_null_and_a_nan_are_equal(platform: Platform) -> None:
    platform.arrive(FIRST)
    platform.build()
    platform.spoil("user_id = 'bob'", gap_mean_seconds=float("nan"))
    assert "gap_mean_seconds" in FEATURE_NAMES
    assert platform.parity() == (0, 0, 0)


def test_without_a_finished_batch_the_answer_is_what_to_run(platform: Platform) -> None:
    assert position(platform.spark, platform.settings, "build_features") is None
    with pytest.raises(BehaviorError, match=r"python -m jobs.build_features --once"):
        platform.parity()
    assert platform.read(FEATURE_TABLE).isEmpty()
