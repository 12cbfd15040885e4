"""What goes wrong on the way, against the slow, literal way to find it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta
from itertools import groupby, pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from journeys.findings import Finding, find
from tests.unit.journeys.samples import NOON, Event, acts_of, in_turn, sessions_of

LATER = NOON + timedelta(days=1)
STREAMS = st.lists(
    st.tuples(
        st.sampled_from("ab"),
        st.sampled_from(["view", "click"]),
        st.sampled_from(["/a", "/b", "/c"]),
        st.sampled_from([0.0, 0.4, 1.0, 1.001, 20.0, 2400.0]),
    ),
    min_size=6,
    max_size=40,
)


def stream(rows: list[tuple[str, str, str, float]]) -> list[Event]:
    """Events whose pauses are given; of two people, in turn."""
    at, events = dict.fromkeys("ab", NOON), []
    for number, (user, action, page, pause) in enumerate(rows):
        at[user] += timedelta(seconds=pause)
        events.append(Event(user, action, page, at[user], number))
    return events


def sessions(events: list[Event]) -> Iterator[list[Event]]:
    """Each session's events in turn."""
    starts = sessions_of(events)
    for own in in_turn(events).values():
        yield from (
            list(inside) for _, inside in groupby(own, lambda e: starts[e.user, e.at.replace(second=0, microsecond=0)])
        )


def found(events: list[Event], what: str, **how: object) -> dict[tuple[object, ...], Finding]:
    """Findings of a sort, by what is found."""
    everything = find(acts_of(events), NOON, LATER, traffic="all", least_users=1, **how)  # type: ignore[arg-type]
    return {(one.action, *one.places): one for one in everything if one.what == what}


@settings(max_examples=60, deadline=None)
@given(STREAMS)
def test_again_and_again_is_what_the_definition_says(rows: list[tuple[str, str, str, float]]) -> None:
    events = stream(rows)
    expected: dict[tuple[object, ...], set[str]] = defaultdict(set)
    came: dict[tuple[object, ...], set[str]] = defaultdict(set)
    for inside in sessions(events):
        for place, event in enumerate(inside):
            came[event.action, event.page].add(event.user)
            run = inside[place : place + 4]
            if len(run) == 4 and all(
                (one.action, one.page) == (other.action, other.page) and other.at - one.at <= timedelta(seconds=1)
                for one, other in pairwise(run)
            ):
                expected[event.action, event.page].add(event.user)
    seen = found(events, "again")
    assert {key: one.people for key, one in seen.items()} == {key: len(who) for key, who in expected.items()}
    assert {key: one.share for key, one in seen.items()} == {k: len(w) / len(came[k]) for k, w in expected.items()}
    assert {key: one.examples for key, one in seen.items()} == {k: tuple(sorted(w)) for k, w in expected.items()}


@settings(max_examples=60, deadline=None)
@given(STREAMS)
def test_back_and_forth_is_what_the_definition_says(rows: list[tuple[str, str, str, float]]) -> None:
    events = stream(rows)
    expected: dict[tuple[object, ...], set[str]] = defaultdict(set)
    both: dict[tuple[object, ...], set[str]] = defaultdict(set)
    for inside in sessions(events):
        way = [page for page, _ in groupby(event.page for event in inside)]
        for a, b, c, d in zip(way, way[1:], way[2:], way[3:], strict=False):
            if (a, b) == (c, d):
                expected[None, min(a, b), max(a, b)].add(inside[0].user)
        for one in set(way):
            for other in set(way):
                if one < other:
                    both[None, one, other].add(inside[0].user)
    seen = found(events, "back_and_forth")
    assert {key: one.people for key, one in seen.items()} == {key: len(who) for key, who in expected.items()}
    assert {key: one.share for key, one in seen.items()} == {k: len(w) / len(both[k]) for k, w in expected.items()}


def visits(count: int, *pages: str, first: int = 0) -> list[Event]:
    """So many people's sessions of these pages."""
    return [
        Event(f"u{first + who}", "view", page, NOON + timedelta(minutes=place), place)
        for who in range(count)
        for place, page in enumerate(pages)
    ]


def test_where_more_sessions_end_than_elsewhere_is_a_dead_end() -> None:
    events = [
        *visits(60, "/home", "/list", "/pay"),
        *visits(60, "/home", "/error", first=100),
        *visits(60, "/list", "/home", first=200),
    ]
    assert {places for _, places in found(events, "dead_end")} == {"/error", "/pay"}
    (one,) = found(events, "dead_end", meant=["/pay"]).values()
    assert one.places == ("/error",)
    assert (one.people, one.share) == (60, 1.0)
    assert "100 % of the 60 sessions that come to error end there" in one.text


def test_a_session_that_may_go_on_ends_nowhere() -> None:
    events = [*visits(60, "/home", "/list", "/pay"), *visits(60, "/home", "/error", first=100)]
    soon = NOON + timedelta(minutes=20)
    assert not [one for one in find(acts_of(events), NOON, soon, traffic="all") if one.what == "dead_end"]


def test_what_happens_to_few_is_theirs_and_is_not_told() -> None:
    events = [Event("a", "click", "/x", NOON + timedelta(seconds=n / 2), n) for n in range(8)]
    assert find(acts_of(events), NOON, LATER, least_users=2) == []
    assert [one.what for one in find(acts_of(events), NOON, LATER, least_users=1)] == ["again"]
