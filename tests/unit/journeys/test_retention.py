"""Retention, lifecycles and stickiness against sets of people."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from journeys.definitions import Step
from journeys.retention import AGES, MONTH, Day, retention
from tests.unit.journeys.samples import NOON, Event, acts_of

MIDNIGHT = NOON.replace(hour=0)
ONE = timedelta(days=1)
BUY = Step("buy", ("buy",))
EVENTS = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.sampled_from(["view", "buy"]),
        st.sampled_from([0, 1, 2, 3, 4, 10, 20, 21, 22, 23, 39, 40]),
        st.integers(0, 86_399),
    ),
    min_size=5,
    max_size=40,
)
Rows = list[tuple[str, str, int, int]]


def stream(rows: Rows) -> list[Event]:
    return [
        Event(user, action, "/", MIDNIGHT + timedelta(days=day, seconds=second), number)
        for number, (user, action, day, second) in enumerate(rows)
    ]


@settings(max_examples=40, deadline=None)
@given(EVENTS, st.sampled_from([None, BUY]), st.sampled_from([None, BUY]), st.integers(0, 20), st.integers(21, 40))
def test_cohorts_are_the_people_of_a_first_day_who_are_seen_again(
    rows: Rows, first: Step | None, again: Step | None, since: int, until: int
) -> None:
    began: dict[str, int] = {}
    seen: dict[str, set[int]] = {}
    for user, action, day, _ in sorted(rows, key=lambda row: row[2]):
        if day >= until:
            continue
        if first is None or action == "buy":
            began.setdefault(user, day)
        if again is None or action == "buy":
            seen.setdefault(user, set()).add(day)
    found = retention(
        acts_of(stream(rows)), MIDNIGHT, MIDNIGHT + since * ONE, MIDNIGHT + until * ONE, first=first, again=again
    )
    assert [cohort.day for cohort in found.cohorts] == sorted(
        {MIDNIGHT + day * ONE for day in began.values() if day >= since}
    )
    for cohort in found.cohorts:
        day = (cohort.day - MIDNIGHT).days
        people = [user for user, one in began.items() if one == day]
        assert cohort.people == len(people)
        ages = [age for age in AGES if day + age < until]
        assert cohort.on == {age: share(people, seen, lambda days, at=day + age: at in days) for age in ages}
        assert cohort.since == {
            age: share(people, seen, lambda days, at=day + age: max(days, default=-1) >= at) for age in ages
        }
    assert list(found.days) == days_of(seen, since, until)


def share(people: list[str], seen: dict[str, set[int]], is_there: object) -> float:
    return sum(is_there(seen.get(user, set())) for user in people) / len(people)  # type: ignore[operator]


def days_of(seen: dict[str, set[int]], since: int, until: int) -> list[Day]:
    told: list[Day] = []
    for day in range(since, until):
        now = {user for user, days in seen.items() if day in days}
        before = {user for user, days in seen.items() if day - 1 in days}
        known = {user for user, days in seen.items() if min(days) < day}
        month = {user for user, days in seen.items() if any(day - MONTH < one <= day for one in days)}
        if not told and not month:
            continue
        told.append(
            Day(
                MIDNIGHT + day * ONE, len(now), len(now - known), len(now & before), len((now & known) - before),
                len(before - now), len(now) / len(month) if month else 0.0,
            )
        )  # fmt: skip
    return told


def test_a_day_that_is_not_over_is_not_told() -> None:
    events = stream([("a", "view", 0, 0), ("a", "view", 1, 0)])
    noon_of_the_second = MIDNIGHT + ONE + timedelta(hours=12)
    found = retention(acts_of(events), MIDNIGHT, MIDNIGHT, noon_of_the_second)
    assert [(cohort.people, dict(cohort.on)) for cohort in found.cohorts] == [(1, {})]
    assert [day.day for day in found.days] == [MIDNIGHT]


@pytest.mark.parametrize(("traffic", "people"), [("all", 3), ("ordinary", 2), ("flagged", 1)])
def test_flagged_sessions_are_counted_apart(traffic: str, people: int) -> None:
    events = stream([("a", "view", 0, 0), ("b", "view", 0, 0), ("bot", "view", 0, 60)])
    start: datetime = MIDNIGHT + timedelta(minutes=1)
    found = retention(acts_of(events, {("bot", start)}), MIDNIGHT, MIDNIGHT, MIDNIGHT + ONE, traffic=traffic)  # type: ignore[arg-type]
    assert [day.people for day in found.days] == [people]
