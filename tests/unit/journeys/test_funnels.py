"""Funnels against the slow, literal way to count them."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import UsageError
from journeys.definitions import Funnel, Step, step_of
from journeys.funnels import Counted, Exit, count
from tests.unit.journeys.samples import NOON, Event, acts_of, done, tried

LATER = NOON + timedelta(days=3)
STEPS = (
    Step("look", ("view",), ("/p/*",)),
    Step("add", ("add", "put")),
    Step("pay", (), ("/done", "/%_\\*x*"), ("ok",)),
)
WINDOWS = st.sampled_from([None, timedelta(minutes=1), timedelta(minutes=20), timedelta(hours=30)])
EVENTS = st.lists(
    st.builds(
        lambda user, what, minutes, seconds: (user, *what, NOON + timedelta(minutes=minutes, seconds=seconds)),
        st.sampled_from("ab"),
        st.sampled_from(
            [
                ("view", "/p/1", None),
                ("view", "/home", None),
                ("add", "/p/1", None),
                ("put", "/", "failed"),
                ("buy", "/done", "ok"),
                ("buy", "/done", "failed"),
                ("view", "/%_\\*xyz", "ok"),
                ("view", "/pp", None),
            ]
        ),
        st.sampled_from([0, 1, 2, 3, 20, 21, 40, 1439, 1440, 1801]),
        st.sampled_from([0, 0, 1]),
    ),
    min_size=8,
    max_size=30,
)


def stream(rows: list[tuple[str, str, str, str | None, object]]) -> list[Event]:
    return [Event(user, action, page, at, n, outcome) for n, (user, action, page, outcome, at) in enumerate(rows)]  # type: ignore[arg-type]


def counted(events: list[Event], funnel: Funnel, **how: object) -> Counted:
    return count(acts_of(events), funnel, NOON, LATER, least_users=1, **how)  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None)
@given(EVENTS, WINDOWS)
def test_a_funnel_is_what_the_definition_says(
    rows: list[tuple[str, str, str, str | None, object]], within: timedelta | None
) -> None:
    events, funnel = stream(rows), Funnel("f", STEPS, within)
    best = {user: max(tries, key=len) for user, tries in tried(events, funnel).items()}
    found = counted(events, funnel)
    for number, step in enumerate(found.steps, 1):
        came = [steps for steps in best.values() if len(steps) >= number]
        assert step.people == len(came)
        spent = [(steps[number - 1].at - steps[number - 2].at).total_seconds() for steps in came] if number > 1 else []
        assert step.seconds_median == (median(spent) if spent else None)
    days: dict[object, dict[str, int]] = {}
    for user, tries in tried(events, funnel).items():
        for steps in tries:
            day = steps[0].at.replace(hour=0, minute=0, second=0)
            days.setdefault(day, {}).setdefault(user, 0)
            days[day][user] = max(days[day][user], len(steps))
    told = {day: tuple(sum(d >= n for d in of.values()) for n in (1, 2, 3)) for day, of in days.items()}
    assert found.days == told
    assert exits_of(found) == expected_exits(events, funnel, best)


def exits_of(found: Counted) -> dict[str, int]:
    """How many people went anywhere from each step."""
    totals = {step.name: 0 for step in STEPS[:2]}
    for one in found.exits:
        totals[one.step] += one.people
    return totals


def expected_exits(events: list[Event], funnel: Funnel, best: dict[str, list[Event]]) -> dict[str, int]:
    return {step.name: sum(len(steps) == number for steps in best.values()) for number, step in enumerate(STEPS[:2], 1)}


@settings(max_examples=40, deadline=None)
@given(EVENTS, WINDOWS)
def test_in_any_order_it_is_how_many_steps_there_are_in_a_window(
    rows: list[tuple[str, str, str, str | None, object]], within: timedelta | None
) -> None:
    events, funnel = stream(rows), Funnel("f", STEPS, within, in_order=False)
    most = done(events, funnel)
    assert [step.people for step in counted(events, funnel).steps] == [
        sum(number >= n for number in most.values()) for n in (1, 2, 3)
    ]


def shop(user: str, *pages: str, minutes: float = 1) -> list[Event]:
    return [
        Event(user, "view", page, NOON + number * timedelta(minutes=minutes), number)
        for number, page in enumerate(pages)
    ]


BASKET = Funnel("basket", (Step("look", (), ("/p/*",)), Step("basket", (), ("/basket",)), Step("pay", (), ("/done",))))


def test_ways_out_are_what_people_do_next_and_those_of_few_are_not_told() -> None:
    events = [
        event
        for number in range(4)
        for event in (
            *shop(f"reader{number}", "/p/1", f"/help/{number}"),
            *shop(f"leaver{number}", f"/p/{number}", "/basket"),
            *shop(f"buyer{number}", "/p/1", "/basket", "/done"),
        )
    ]
    events += shop("alone", "/p/1", "/mine")
    found = count(acts_of(events), BASKET, NOON, LATER, least_users=2)
    assert [(step.people, step.of_first, step.seconds_p90) for step in found.steps] == [
        (13, 1.0, None), (8, 8 / 13, 60.0), (4, 4 / 13, 60.0),
    ]  # fmt: skip
    assert found.exits == (Exit("look", "view", "/help/*", 4), Exit("basket", None, None, 4))


def test_what_comes_after_the_session_or_the_window_is_nothing_more() -> None:
    events = shop("a", "/p/1", "/help", minutes=45)
    assert counted(events, BASKET).exits == (Exit("look", None, None, 1),)
    in_an_hour = Funnel("basket", BASKET.steps, timedelta(hours=1))
    assert counted(events, in_an_hour).exits == (Exit("look", "view", "/help", 1),)


@pytest.mark.parametrize(("traffic", "people"), [("all", 3), ("ordinary", 2), ("flagged", 1)])
def test_flagged_sessions_are_counted_apart(traffic: str, people: int) -> None:
    events = [*shop("a", "/p/1", "/basket"), *shop("b", "/p/1", "/basket"), *shop("bot", "/p/1", "/basket")]
    found = count(acts_of(events, {("bot", NOON)}), BASKET, NOON, LATER, traffic=traffic)  # type: ignore[arg-type]
    assert [step.people for step in found.steps] == [people, people, 0]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Funnel("f", (step_of("view"),)), "Funnel 'f': found 1 steps; needed: 2 to 12."),
        (lambda: step_of(" : |"), "Step ' : |': found no action, page or outcome; needed: one of them."),
        (lambda: Funnel("f", (step_of("a"), step_of("a"))), "Funnel 'f': found two steps called 'a'"),
        (lambda: Funnel("f", (step_of("a"), step_of("b")), timedelta()), "Funnel 'f': found a window of 0:00:00"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Callable[[], object], sentence: str) -> None:
    with pytest.raises(UsageError, match=re.escape(sentence)):
        make()


def test_a_step_as_people_type_it() -> None:
    assert step_of("view|click:/a/*|/b") == Step("view|click:/a/*|/b", ("view", "click"), ("/a/*", "/b"))
    assert step_of(":/a") == Step(":/a", (), ("/a",))
