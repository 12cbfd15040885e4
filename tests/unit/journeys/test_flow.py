"""What comes before and after a kind of page, against the slow, literal way to count it."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from itertools import groupby

import pytest
from hypothesis import given, settings

from journeys.flow import Way, flow
from patterns.pages import END, START
from tests.unit.journeys.samples import NOON, Event, acts_of
from tests.unit.journeys.test_findings import STREAMS, sessions, stream

LATER = NOON + timedelta(days=1)


@settings(max_examples=40, deadline=None)
@given(STREAMS)
def test_neighbours_are_what_the_definition_says(rows: list[tuple[str, str, str, float]]) -> None:
    events = stream(rows)
    ways = [[page for page, _ in groupby(event.page for event in inside)] for inside in sessions(events)]
    before, after, visits = Counter[tuple[str, str]](), Counter[tuple[str, str]](), Counter[str]()
    for way in ways:
        visits.update(way)
        before.update(zip(way, [START, *way], strict=False))
        after.update(zip(way, [*way[1:], END], strict=True))
    for kind in visits:
        found = flow(acts_of(events), kind, NOON, LATER, traffic="all", least_users=1)
        assert (found.kind, found.visits, dict(found.kinds)) == (kind, visits[kind], dict(visits))
        for told, counted in ((found.before, before), (found.after, after)):
            expected = {other: number for (one, other), number in counted.items() if one == kind}
            assert {one.kind: one.visits for one in told} == expected
            assert [one.share for one in told] == pytest.approx([one.visits / visits[kind] for one in told])


def test_a_kind_that_is_not_there_is_the_most_visited_one_and_few_peoples_ways_are_not_told() -> None:
    events = [
        Event(f"u{who}", "view", page, NOON + timedelta(minutes=place), place)
        for who in range(4)
        for place, page in enumerate(["/a", "/help", "/a", "/b"])
    ]
    events.append(Event("u0", "view", "/mine", NOON + timedelta(minutes=9), 9))
    found = flow(acts_of(events), "/none", NOON, LATER, least_users=3)
    assert (found.kind, found.visits, found.people) == ("/a", 8, 4)
    assert found.after == (Way("/b", 4, 0.5, 4), Way("/help", 4, 0.5, 4))
    assert [one.kind for one in flow(acts_of(events), "/b", NOON, LATER, least_users=3).after] == [END]
    assert flow(acts_of(events[:0]), None, NOON, LATER).kind is None
