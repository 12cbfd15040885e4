"""The views, as DuckDB reads them, against the slow, literal way to say the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import UsageError
from features.tables import ALERTS, EVENTS, FEEDBACK, PATTERN_MEMBERS, SCORES, SEGMENTS, TABLES
from lake.location import duckdb_relation, spark_relation
from lake.schemas import arrow_schema
from tests.unit.journeys.samples import NOON, Event, acts_of, in_turn, sessions_of
from views.rendering import View, named_tables, statements, views

STREAMS = st.lists(
    st.builds(
        lambda user, page, minutes: (user, page, NOON + timedelta(minutes=minutes)),
        st.sampled_from("abc"),
        st.sampled_from(["/", "/p"]),
        st.sampled_from([0, 0, 1, 2, 29, 31, 90, 1500]),
    ),
    max_size=30,
)


@pytest.fixture
def lake() -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB with all tables that views read, empty."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for table in (EVENTS, SCORES, ALERTS, FEEDBACK, PATTERN_MEMBERS, SEGMENTS):
            connection.register(table.name, arrow_schema(table).empty_table())
        yield connection


def look(lake: duckdb.DuckDBPyConnection, view: str, **tables: pa.Table) -> list[dict[str, Any]]:
    """The rows of a view on these tables."""
    for name, rows in tables.items():
        lake.register(name, rows)
    for statement in statements(named_tables("")):
        lake.execute(statement)
    found: list[dict[str, Any]] = lake.sql(f"SELECT * FROM {view} ORDER BY ALL").to_arrow_table().to_pylist()
    return found


def tables_of(rows: list[tuple[str, str, Any]], flagged: set[str]) -> tuple[list[Event], pa.Table, pa.Table]:
    """Events, and tables events and scores; the first session of each of ``flagged`` has all its minutes flagged."""
    events = [Event(user, "view", page, at, number) for number, (user, page, at) in enumerate(rows)]
    firsts: dict[str, Any] = {}
    for (user, _), start in sorted(sessions_of(events).items(), key=lambda item: item[1]):
        firsts.setdefault(user, start)
    acts = acts_of(events, {(user, firsts[user]) for user in flagged if user in firsts})
    ingested = [dict(row) | {"ingested_at": NOON, "event_key": row["offset"]} for row in acts.events.to_pylist()]
    return events, pa.Table.from_pylist(ingested, arrow_schema(EVENTS)), acts.verdicts


@settings(max_examples=25, deadline=None)
@given(STREAMS, st.sets(st.sampled_from("ab")))
def test_sessions_steps_people_and_days_are_what_the_definitions_say(
    rows: list[tuple[str, str, Any]], flagged: set[str]
) -> None:
    events, told, verdicts = tables_of(rows, flagged)
    starts = sessions_of(events)
    with duckdb.connect() as lake:
        lake.execute("SET TimeZone = 'UTC'")
        for table in (ALERTS, FEEDBACK, PATTERN_MEMBERS, SEGMENTS):
            lake.register(table.name, arrow_schema(table).empty_table())
        sessions = look(lake, "sessions", events=told, scores=verdicts)
        minutes: dict[Any, int] = defaultdict(int)
        for (user, _), start in starts.items():
            minutes[user, start] += 1
        assert {(one["user_id"], one["session_start"]): one["active_minutes"] for one in sessions} == minutes
        first = {user: min(start for who, start in minutes if who == user) for user, _ in minutes}
        is_flagged = {(user, start): user in flagged and start == first[user] for user, start in minutes}
        assert {(one["user_id"], one["session_start"]): one["is_flagged"] for one in sessions} == is_flagged

        number = {key: count(1) for key in minutes}
        steps = []
        for user, own in in_turn(events).items():
            for event in own:
                start = starts[user, event.at.replace(second=0, microsecond=0)]
                steps.append((user, start, next(number[user, start]), event.at, event.page))
        seen = look(lake, "steps")
        told_steps = [
            (one["user_id"], one["session_start"], one["step"], one["timestamp"], one["page"]) for one in seen
        ]
        assert sorted(told_steps) == sorted(steps)

        people = {one["user_id"]: one for one in look(lake, "people")}
        assert set(people) == set(in_turn(events))
        for user, own in in_turn(events).items():
            sessions_of_user = sum(who == user for who, _ in minutes)
            told_of = people[user]
            assert (told_of["events"], told_of["sessions"], told_of["first_seen"]) == (
                len(own),
                sessions_of_user,
                own[0].at,
            )
            assert told_of["active_days"] == len({event.at.date() for event in own})
            assert told_of["is_bot"] == (user in flagged and sessions_of_user <= 2)
        honest = {one["user_id"] for one in look(lake, "people_without_bots")}
        assert honest == {user for user, one in people.items() if not one["is_bot"]}

        days = {one["day"].date(): one for one in look(lake, "days")}
        assert {day: one["events"] for day, one in days.items()} == _counts(event.at.date() for event in events)
        assert sum(one["new_people"] for one in days.values()) == len(people)


def _counts(values: Any) -> dict[Any, int]:
    counted: dict[Any, int] = defaultdict(int)
    for value in values:
        counted[value] += 1
    return counted


def row_of(table: Any, **given: Any) -> dict[str, Any]:
    """A row with null where nothing is said."""
    return dict.fromkeys(arrow_schema(table).names) | given


def test_an_alert_is_there_once_as_it_stands_with_the_newest_word_on_it(lake: duckdb.DuckDBPyConnection) -> None:
    alert = {"user_id": "a", "session_start": NOON, "batch_time": NOON, "batch_id": "1"}
    rows = [
        row_of(ALERTS, alert_id="x", revision=1, state="open", **alert),
        row_of(ALERTS, alert_id="x", revision=2, state="closed", **alert),
        row_of(ALERTS, alert_id="y", revision=1, state="open", **alert),
        row_of(ALERTS, alert_id="y", revision=2, state="merged", **alert),
    ]
    words = [
        row_of(FEEDBACK, alert_id="x", verdict="true", analyst="ann", at=NOON),
        row_of(FEEDBACK, alert_id="x", verdict="false", analyst="bob", at=NOON + timedelta(hours=1)),
    ]
    alerts = pa.Table.from_pylist(rows, pa.schema([field.with_nullable(True) for field in arrow_schema(ALERTS)]))
    said = pa.Table.from_pylist(words, pa.schema([field.with_nullable(True) for field in arrow_schema(FEEDBACK)]))
    assert [(one["alert_id"], one["state"]) for one in look(lake, "current_alerts", alerts=alerts)] == [("x", "closed")]
    (reviewed,) = look(lake, "reviewed_alerts", alerts=alerts, feedback=said)
    assert (reviewed["alert_id"], reviewed["verdict"], reviewed["analyst"]) == ("x", "false", "bob")


def test_a_person_is_of_the_kind_of_the_newest_day(lake: duckdb.DuckDBPyConnection) -> None:
    days = (NOON, NOON + timedelta(days=1))
    members = [
        row_of(PATTERN_MEMBERS, day=day, unit="user", pattern_id=str(n), user_id="a") for n, day in enumerate(days)
    ]
    kinds = [row_of(SEGMENTS, day=day, unit="user", segment_id=str(n), name=f"kind {n}") for n, day in enumerate(days)]

    def table(of: Any, rows: list[dict[str, Any]]) -> pa.Table:
        return pa.Table.from_pylist(rows, pa.schema([field.with_nullable(True) for field in arrow_schema(of)]))

    found = look(
        lake, "kinds_of_people", pattern_members=table(PATTERN_MEMBERS, members), segments=table(SEGMENTS, kinds)
    )
    assert [(one["user_id"], one["kind"], one["day"]) for one in found] == [("a", "kind 1", days[1])]


def test_views_of_tables_that_are_not_there_yet_are_left_out_with_a_word() -> None:
    made = statements(named_tables(""), there=["events", "scores", "alerts"])
    left_out = [one for one in made if not one.split("\n")[-1].endswith(";")]
    assert left_out == [
        "-- kinds_of_people is left out: there is no table pattern_members yet.",
        "-- reviewed_alerts is left out: there is no table feedback yet.",
    ]
    assert len(made) == len(views())


def test_tables_are_called_as_each_engine_does_and_a_path_cannot_end_its_quotes() -> None:
    assert duckdb_relation("file:///it's", "events") == "delta_scan('/it''s/events')"
    assert duckdb_relation("s3a://b/l", "events") == "delta_scan('s3://b/l/events')"
    assert spark_relation("/a`b", "events") == "delta.`/a``b/events`"
    assert named_tables("delta.behavior")("events") == "delta.behavior.events"
    assert named_tables("")("events") == "events"


def test_every_view_says_what_it_is_and_reads_tables_that_exist() -> None:
    for view in views():
        assert view.about
        assert set(view.tables) <= set(TABLES)
        assert view.tables or view.of
    with pytest.raises(UsageError, match="found no table 'nothing'"):
        View("v", "", 'SELECT * FROM {{ source("behavior", "nothing") }}', (), ()).query(str)
