"""Sessions as a user of the tables meets them: cut, named by the sender, joined by a late event."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from features.behavior import SessionRules, behavior
from features.tables import EVENTS
from features.tiles import fold
from streams.look_back import of_users

RULES = SessionRules(gap=3, longest=10, own_past=25)
START = datetime(2026, 2, 28, 23, 50, tzinfo=UTC)
"""A multiple of the longest session before midnight."""

Visit = tuple[int, str | None]
"""Minute after START, the sender's session id."""


def events(spark: SparkSession, visits: Sequence[Visit]) -> DataFrame:
    known = [
        {
            "user_id": "ada",
            "action": "view",
            "page": f"/{minute}",
            "timestamp": START + timedelta(minutes=minute, seconds=5),
            "session_id": session,
        }
        for minute, session in visits
    ]
    rows = [[row.get(name) for name in EVENTS.columns] for row in known]
    schema = EVENTS.schema.jsonValue()
    for field in schema["fields"]:
        field["nullable"] = True
    return spark.createDataFrame(rows, type(EVENTS.schema).fromJson(schema))


def sessions(rows: DataFrame) -> dict[int, tuple[int, bool]]:
    """Minute -> (first minute of its session, whether it was cut), in minutes after START."""

    def minutes(time: datetime) -> int:
        return round((time.astimezone(UTC) - START).total_seconds() / 60)

    return {minutes(row.window_start): (minutes(row.session_start), row.session_is_split) for row in rows.collect()}


def of_batch(spark: SparkSession, visits: Sequence[Visit]) -> dict[int, tuple[int, bool]]:
    return sessions(behavior(fold(events(spark, visits)), RULES))


def test_a_pause_longer_than_the_gap_ends_a_session(spark: SparkSession) -> None:
    found = of_batch(spark, [(0, None), (3, None), (7, None)])
    assert found == {0: (0, False), 3: (0, False), 7: (7, False)}


def test_a_session_that_reaches_the_longest_length_is_cut_there_and_what_follows_is_marked(
    spark: SparkSession,
) -> None:
    found = of_batch(spark, [(minute, None) for minute in range(1, 24, 2)])
    assert [found[minute] for minute in (1, 9, 11, 19, 21, 23)] == [
        (1, False), (1, False), (11, True), (11, True), (21, True), (21, True),
    ]  # fmt: skip


def test_the_senders_session_id_bridges_a_pause_and_ends_a_session_without_one(spark: SparkSession) -> None:
    assert of_batch(spark, [(0, "a"), (8, "a")]) == {0: (0, False), 8: (0, False)}
    assert of_batch(spark, [(0, "a"), (1, "b")]) == {0: (0, False), 1: (1, False)}


def with_older(fresh: DataFrame, older: DataFrame) -> DataFrame:
    return older.withColumn("fresh", F.lit(False)).unionByName(fresh.withColumn("fresh", F.lit(True)))


@pytest.mark.parametrize("late", [[(4, None)], [(5, None), (3, None)]])
def test_a_late_event_that_joins_two_sessions_revises_the_rows_of_both(spark: SparkSession, late: list[Visit]) -> None:
    early = [(0, None), (2, None), (6, None), (7, None)]
    assert of_batch(spark, early) == {0: (0, False), 2: (0, False), 6: (6, False), 7: (6, False)}
    older, fresh = fold(events(spark, early)), fold(events(spark, late))
    repaired = behavior(with_older(fresh, older), RULES)
    rows = {**sessions(behavior(older, RULES)), **sessions(repaired)}
    assert rows == dict.fromkeys([0, 2, 6, 7, *[m for m, _ in late]], (0, False))
    assert {row.window_start: row.session_events for row in repaired.collect()} == {
        row.window_start: row.session_events
        for row in behavior(fold(events(spark, [*early, *late])), RULES).collect()
        if row.window_start.astimezone(UTC) >= START + timedelta(minutes=min(m for m, _ in late))
    }


@pytest.mark.parametrize("narrow", [True, False])
def test_tiles_of_people_without_a_new_event_change_no_row_whether_they_are_read_or_not(
    spark: SparkSession, narrow: bool
) -> None:
    older, fresh = fold(events(spark, [(0, None), (2, None)])), fold(events(spark, [(4, None)]))
    others, users = older.withColumn("user_id", F.lit("bob")), fresh.select("user_id").toArrow()["user_id"]
    alone, among_others = (
        behavior(with_older(fresh, of_users(of, users) if narrow else of), RULES)
        for of in (older, older.unionByName(others))
    )
    assert among_others.collect() == alone.collect() != []
