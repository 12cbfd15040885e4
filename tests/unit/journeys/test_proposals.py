"""Planted ways are proposed as funnels, and nothing is where nothing leads anywhere."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from journeys.funnels import count
from journeys.proposals import propose
from tests.unit.journeys.samples import NOON, Event, acts_of

LATER = NOON + timedelta(days=1)
ASIDE = ("/home", "/help", "/news", "/about")


def people(seed: int, buyers: int = 30, others: int = 90) -> list[Event]:
    """Buyers look, fill a basket and pay, with other pages between; the others look, or fill a basket, or neither."""
    rng = np.random.default_rng(seed)
    events: list[Event] = []
    for who in range(buyers + others):
        is_buyer = who < buyers
        way = [("view", f"/product/{rng.integers(500)}"), ("add", "/cart"), ("pay", "/done")]
        if not is_buyer:
            way = way[: rng.choice([0, 1, 2], p=[0.4, 0.4, 0.2])]
        acts = [("view", str(rng.choice(ASIDE)))]
        for act in way:
            acts += [act, *[("view", str(rng.choice(ASIDE))) for _ in range(rng.integers(0, 2))]]
        if not is_buyer:
            acts += [("view", str(page)) for page in rng.choice(ASIDE, 3)]
        events += [
            Event(f"u{who}", action, page, NOON + timedelta(minutes=place), place)
            for place, (action, page) in enumerate(acts)
        ]
    return events


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_planted_way_is_proposed_and_can_be_counted(seed: int) -> None:
    acts = acts_of(people(seed))
    (funnel, *_) = propose(acts, NOON, LATER)
    assert [(step.actions, step.pages) for step in funnel.steps] == [
        (("view",), ("/product/*",)), (("add",), ("/cart",)), (("pay",), ("/done",)),
    ]  # fmt: skip
    assert (funnel.name, funnel.within, funnel.in_order) == ("to done", None, True)
    counted = count(acts, funnel, NOON, LATER)
    assert counted.steps[-1].people == 30
    assert counted.steps[0].people > counted.steps[1].people > 30


def test_where_nothing_leads_anywhere_nothing_is_proposed() -> None:
    rng = np.random.default_rng(4)
    events = [
        Event(f"u{who}", "view", str(rng.choice(ASIDE)), NOON + timedelta(minutes=place), place)
        for who in range(80)
        for place in range(6)
    ]
    assert propose(acts_of(events), NOON, LATER) == []
    assert propose(acts_of(events[:0]), NOON, LATER) == []


def test_a_way_of_few_people_is_theirs_and_is_not_proposed() -> None:
    assert propose(acts_of(people(5, buyers=2)), NOON, LATER) == []
