"""Any stream, in any micro-batches, killed between any two writes: what is in the tables is what the events say."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.errors import StreamingQueryException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from features.behavior import SessionRules
from features.definitions import FEATURE_NAMES
from features.tables import FEATURE_TABLE, TILES, Table
from jobs import build_features
from lake.spark_tables import Lake
from tests.integration.upkeep import Platform, small_platform
from tests.unit.features.plain_features import Act, plain_features
from tests.unit.features.random_streams import MIDNIGHT, Sent, streams

pytestmark = pytest.mark.integration

EXAMPLES = int(os.environ.get("BEHAVIOR_TEST_STREAMS", "12"))
"""How many random streams the slow test takes."""


class Killed(Exception):
    """Stands for the process being killed at this moment."""


class Kill(NamedTuple):
    """In which micro-batch, and before or after the write to which table."""

    batch: int
    table: str
    after: bool


kills = st.builds(
    Kill, batch=st.integers(0, 3), table=st.sampled_from([TILES.name, FEATURE_TABLE.name]), after=st.booleans()
)


@dataclass(frozen=True)
class MortalLake(Lake):
    """A lake whose commits die where ``deaths`` says, each once."""

    deaths: list[Kill] = field(default_factory=list)

    def commit(
        self,
        written: Sequence[str],
        table: Table,
        *,
        batch_id: str,
        ends: str = "",
        fence: tuple[str, int] | None = None,
    ) -> bool:
        number = int(batch_id.rsplit(":", 1)[-1])
        due = [kill for kill in self.deaths if (kill.batch, kill.table) == (number, table.name)]
        if due and not due[0].after:
            self.deaths.remove(due[0])
            raise Killed
        is_new = super().commit(written, table, batch_id=batch_id, ends=ends, fence=fence)
        if due:
            self.deaths.remove(due[0])
            raise Killed
        return is_new


def cut(stream: Sequence[Sent], borders: Sequence[float]) -> list[list[Sent]]:
    """Cut in order of arrival at the given shares of the length; empty parts are left out."""
    at = [0, *sorted(round(border * len(stream)) for border in borders), len(stream)]
    return [list(stream[first:last]) for first, last in itertools.pairwise(at) if last > first]


def build_to_the_end(platform: Platform, deaths: list[Kill]) -> int:
    """Run build_features until it has read everything, started anew after each death; returns how often it died."""
    mortal = MortalLake(platform.spark, platform.lake.root, deaths)
    died = 0
    while True:
        query = build_features.start(platform.spark, mortal, platform.settings, once=True)
        try:
            query.awaitTermination()
        except StreamingQueryException as error:
            assert "Killed" in str(error), error  # noqa: PT017 - any other failure is the test's
            died += 1
        else:
            return died


def check(spark: SparkSession, folder: Path, stream: list[Sent], borders: list[float], deaths: list[Kill]) -> None:
    platform = small_platform(spark, folder, "stream.max_files_per_trigger=1")
    parts = cut(stream, borders)
    for part in parts:
        twice = [one for one in part if one.twice]
        platform.arrive_acts([(one.user, one.act) for one in (*part, *twice)])
    planned = {(kill.batch, kill.table) for kill in deaths if kill.batch < len(parts)}
    died = build_to_the_end(platform, [kill for n, kill in enumerate(deaths) if kill not in deaths[:n]])
    assert died >= bool(planned)

    assert platform.parity() == (0, 0, 0)
    assert platform.read(TILES).agg(F.sum("events")).collect()[0][0] == sum(1 + one.twice for one in stream)
    chosen = platform.settings.features
    rules = SessionRules(chosen.session_gap_minutes, chosen.session_max_minutes, chosen.own_past_minutes)
    agrees_with_the_definitions(platform, stream, rules)


def agrees_with_the_definitions(platform: Platform, stream: list[Sent], rules: SessionRules) -> None:
    found = {
        (row.user_id, int(row.window_start.timestamp()) // 60): tuple(row[name] for name in FEATURE_NAMES)
        for row in platform.newest().collect()
    }
    expected = {}
    for user in {one.user for one in stream}:
        acts = [one.act for one in stream for _ in range(1 + one.twice) if one.user == user]
        for minute, row in plain_features(acts, rules).items():
            expected[user, minute] = tuple(row[name] for name in FEATURE_NAMES)
    assert found.keys() == expected.keys()
    for key, numbers in expected.items():
        written = [float("nan") if value is None else value for value in found[key]]
        assert written == pytest.approx(numbers, abs=1e-9, nan_ok=True), key


examples = given(
    stream=streams(least=4, most=50), borders=st.lists(st.floats(0, 1), max_size=3), deaths=st.lists(kills, max_size=3)
)
patient = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))


@pytest.mark.timeout(1800)
@settings(patient, max_examples=2, derandomize=True)
@examples
def test_streams_killed_between_writes_leave_what_their_events_say(
    spark: SparkSession, stream: list[Sent], borders: list[float], deaths: list[Kill]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check(spark, Path(folder), stream, borders, deaths)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(patient, max_examples=EXAMPLES)
@examples
def test_random_streams_killed_between_writes_leave_what_their_events_say(
    spark: SparkSession, stream: list[Sent], borders: list[float], deaths: list[Kill]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check(spark, Path(folder), stream, borders, deaths)


@pytest.mark.timeout(1800)
def test_kills_that_leave_either_table_behind_do_no_harm_where_a_late_event_joins_two_sessions_over_midnight(
    spark: SparkSession, tmp_path: Path
) -> None:
    around = [Sent("ada", Act(MIDNIGHT + second), twice=False) for second in (-150, -90, 150, 210)]
    late = [Sent("ada", Act(MIDNIGHT + 1, page="/late"), twice=True)]
    rows_only, tiles_only = Kill(0, TILES.name, after=False), Kill(1, FEATURE_TABLE.name, after=False)
    check(spark, tmp_path, [*around, *late], [0.8], [rows_only, tiles_only, Kill(1, FEATURE_TABLE.name, after=True)])
