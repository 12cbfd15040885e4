"""Events that are sound one by one and can hardly be right together are told of with figures; ordinary ones are not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from features.events import micros_of
from features.sense import MAX_USERS, Tally, doubts

START = micros_of(datetime(2025, 10, 15, 12, tzinfo=UTC))


def tally_of(count: int = 200, *, users: int = 20, actions: int = 3, step: int = 1_000_000) -> Tally:
    tally = Tally()
    for at in range(count):
        tally.add(f"u{at % users}", f"a{at % actions}", START + at * step)
    return tally


def test_ordinary_events_leave_no_doubt() -> None:
    assert doubts(tally_of()) == []
    assert doubts(Tally()) == []


@pytest.mark.parametrize(
    ("tally", "found"),
    [
        (tally_of(users=1), "200 of 200 events are of one user ('u0')"),
        (tally_of(users=200), "200 events are of 200 users: nearly every event has a user of its own"),
        (tally_of(step=4), "All 200 events are of one second (2025-10-15 12:00:00 UTC)"),
        (tally_of(actions=1), "All 200 events have the action 'a0'"),
    ],
)
def test_what_can_hardly_be_right_is_told_with_figures(tally: Tally, found: str) -> None:
    (sentence,) = doubts(tally)
    assert found in sentence


@pytest.mark.parametrize(
    "name", ["undefined", "null", "NaN", "[object Object]", "-", " None ", "00000000-0000-0000-0000-000000000000"]
)
def test_what_programs_write_for_nobody_is_told_of_from_the_first_event_on(name: str) -> None:
    tally = Tally()
    tally.add("ada", "view", START)
    tally.add(name, "view", START)
    (sentence,) = doubts(tally)
    assert f"1 of 2 events are of users called {name!r} (1)" in sentence


def test_few_events_say_nothing_about_what_is_missing() -> None:
    assert doubts(tally_of(20, users=1, actions=1, step=0)) == []


def test_more_rejected_than_accepted_is_told_with_the_commonest_reason() -> None:
    tally = tally_of(60)
    tally.add_rejected({"not_json": 90, "empty": 5})
    (sentence,) = doubts(tally)
    assert "95 of 155 records were rejected, 90 of them as not_json" in sentence
    tally.add_rejected({"not_json": -60})
    assert doubts(tally) == []


def test_rows_of_the_table_count_as_events_one_by_one() -> None:
    one = tally_of(300, users=7, actions=2)
    at = [START + n * 1_000_000 for n in range(300)]
    times = pa.array(at, pa.int64()).cast(pa.timestamp("us", tz="UTC"))
    users, actions = [f"u{n % 7}" for n in range(300)], [f"a{n % 2}" for n in range(300)]
    rows = pa.table({"user_id": users, "action": actions, "timestamp": times})
    other = Tally()
    other.add_rows(rows.slice(0, 100))
    other.add_rows(rows.slice(100))
    other.add_rows(rows.slice(0, 0))
    assert other == one
    assert other.last == START + int(timedelta(seconds=299).total_seconds()) * 1_000_000


def test_a_flood_of_users_is_counted_in_bounded_room() -> None:
    tally = Tally()
    for at in range(MAX_USERS + 500):
        tally.add(f"u{at}", "view", START + at)
    assert len(tally.users) == MAX_USERS
    assert f"{MAX_USERS + 500:,} events are of {MAX_USERS + 500:,} users" in " ".join(doubts(tally))
