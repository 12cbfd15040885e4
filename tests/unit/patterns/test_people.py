"""Kinds of people by what they do: told apart, kept from day to day, and named in plain words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.metrics import adjusted_rand_score

from benchmarks._people import measured
from patterns import words
from patterns.acts import REST, Act, Told
from patterns.people import Centre, People, learn_people
from patterns.segments import GLANCE, Floats, Ints
from patterns.traits import TRAITS
from simulation import Scenario
from simulation.sites import SITES

NAMES = [trait.name for trait in TRAITS["user"]]
READ, SCROLL, LOOK, BASKET, PAY, LOGIN, ACCOUNT = ACTS = (
    ("view", "/article/*"), ("scroll", "/article/*"), ("view", "/product/*"), ("interaction", "/cart"),
    ("interaction", "/checkout"), ("interaction", "/login"), ("view", "/account"),
)  # fmt: skip
VOCABULARY: tuple[Act, ...] = (*ACTS, REST)


@dataclass(frozen=True)
class Kind:
    """What people of a kind do how often, and some of their traits."""

    habits: dict[Act, float]
    traits: dict[str, float]


READERS = Kind({READ: 6, SCROLL: 3, LOOK: 1}, {"sessions": 1, "hours": 1, "pause_seconds": 60})
BUYERS = Kind({LOOK: 5, BASKET: 3, PAY: 2}, {"sessions": 1, "hours": 1, "pause_seconds": 20})
CUSTOMERS = Kind({LOGIN: 2, ACCOUNT: 4, LOOK: 3, BASKET: 1}, {"sessions": 5, "hours": 4, "pause_seconds": 25})
NIGHT_READERS = Kind(READERS.habits, {**READERS.traits, "night_share": 1})
ALL = (READERS, BUYERS, CUSTOMERS)


def people(
    kinds: Sequence[Kind], each: int, seed: int, vocabulary: Sequence[Act] = VOCABULARY
) -> tuple[Floats, csr_array, Ints]:
    """Traits, counts and kinds of ``each`` people of every kind, in a random order."""
    rng = np.random.default_rng(seed)
    values, counts = np.zeros((0, len(NAMES))), np.zeros((0, len(vocabulary)))
    for kind in kinds:
        habits = np.array([kind.habits.get(act, 0.05) for act in vocabulary])
        totals = rng.integers(10, 60, each)
        shares = rng.dirichlet(40 * habits / habits.sum(), each)
        counts = np.concatenate([counts, [rng.multinomial(n, own) for n, own in zip(totals, shares, strict=True)]])
        traits = np.array([kind.traits.get(name, 0.0) for name in NAMES]) * np.exp(
            0.2 * rng.standard_normal((each, len(NAMES)))
        )
        traits[:, NAMES.index("events")] = totals
        values = np.concatenate([values, traits])
    order = rng.permutation(len(values))
    return values[order], csr_array(counts[order]), np.repeat(np.arange(len(kinds)), each)[order]


def learned(
    kinds: Sequence[Kind], seed: int = 1, vocabulary: tuple[Act, ...] = VOCABULARY
) -> tuple[People, Ints, Ints]:
    """Kinds as learned, the label of each person, and the truth."""
    values, counts, truth = people(kinds, 80, seed, vocabulary)
    found = learn_people(values, counts, vocabulary, 6, 17)
    assert found is not None
    return found, found.assign(values, counts)[0], truth


def place_of(kind: int, assigned: Ints, truth: Ints) -> int:
    """The label that most people of a planted kind have."""
    return int(np.bincount(assigned[truth == kind]).argmax())


def kept(found: People, ids: Sequence[str]) -> dict[str, Centre]:
    """Kinds as the table keeps them."""
    return {
        name: Centre(dict(zip(found.acts, found.habits[place].tolist(), strict=True)), found.centres[place].tolist())
        for place, name in enumerate(ids)
    }


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_planted_kinds_are_told_apart_by_what_they_do(seed: int) -> None:
    found, assigned, truth = learned(ALL, seed)
    assert adjusted_rand_score(truth, assigned) >= 0.9
    assert len(found) == 3
    assert found.stability is not None
    assert found.stability >= 0.8


def test_who_did_a_single_thing_is_a_passer_by_and_alone_teaches_nothing() -> None:
    values, counts, _ = people(ALL, 40, 1)
    found = learn_people(values, counts, VOCABULARY, 6, 17)
    assert found is not None
    glance = np.zeros((4, len(NAMES)))
    glance[:, NAMES.index("events")] = 1
    once = csr_array(np.eye(4, len(VOCABULARY)))
    assert set(found.assign(glance, once)[0].tolist()) == {GLANCE}
    assert learn_people(glance, once, VOCABULARY, 6, 17) is None
    assert learn_people(glance[:0], once[:0], VOCABULARY, 6, 17) is None


def test_kinds_go_on_the_next_day_whatever_the_order_of_acts_and_a_new_one_is_new() -> None:
    first, assigned, truth = learned(ALL[:2], seed=1)
    ids = ["", ""]
    for kind, name in enumerate(("readers", "buyers")):
        ids[place_of(kind, assigned, truth)] = name
    other_order = (*reversed(ACTS), ("click", "/banner"), REST)
    second, assigned, truth = learned(ALL, seed=2, vocabulary=other_order)
    continued = second.matched(kept(first, ids))
    assert continued[place_of(0, assigned, truth)] == "readers"
    assert continued[place_of(1, assigned, truth)] == "buyers"
    assert continued[place_of(2, assigned, truth)] is None


def test_kinds_that_do_the_same_at_another_time_are_not_taken_for_each_other() -> None:
    first, assigned, truth = learned((READERS, BUYERS), seed=3)
    ids = ["", ""]
    for kind, name in enumerate(("readers", "buyers")):
        ids[place_of(kind, assigned, truth)] = name
    second, assigned, truth = learned((NIGHT_READERS, READERS, BUYERS), seed=4)
    continued = second.matched(kept(first, ids))
    assert continued[place_of(0, assigned, truth)] is None
    assert continued[place_of(1, assigned, truth)] == "readers"


def test_what_older_tables_have_of_a_segment_is_no_kind_to_go_on_with() -> None:
    found, _, _ = learned(ALL)
    assert found.matched({"old": Centre({}, [0.0] * len(NAMES))}) == [None] * 3


def test_names_say_what_sets_a_kind_apart() -> None:
    found, assigned, truth = learned(ALL)
    values, _, _ = people(ALL, 80, 1)
    used: set[str] = set()
    said = {}
    for kind in range(3):
        place = place_of(kind, assigned, truth)
        habit = words.Habit(found.told(place, 0), found.told(place, 1), found.acts_told(place))
        contrasts = words.profile("user", values[assigned == place], values)
        used.add(name := words.people_name(habit, contrasts, used))
        said[kind] = (name, words.people_description(habit, contrasts))
    assert said[0][0] == "article visitors"
    assert "article pages (usually" in said[0][1]
    assert {"checkout", "cart"} & set(said[1][0].split())
    assert {"account", "login"} & set(said[2][0].split())
    assert "5 sessions (usually" in said[2][1]


def test_a_name_in_use_gets_an_adjective_or_a_number() -> None:
    habit = words.Habit([], [Told("/article/*", 0.6, 0.2)], [Told("view /article/*", 0.6, 0.2)])
    assert words.people_name(habit, [], set()) == "article visitors"
    assert words.people_name(habit, [], {"article visitors"}) == "article visitors (2)"
    night = words.Contrast(next(trait for trait in TRAITS["user"] if trait.name == "night_share"), 1.0, 0.1, 2.0)
    assert words.people_name(habit, [night], {"article visitors"}) == "night article visitors"


def test_who_does_as_all_do_is_described_so() -> None:
    habit = words.Habit([], [Told("/a", 0.5, 0.5)], [Told("view /a", 0.5, 0.5)])
    assert words.people_description(habit, []) == "much like all others"


@pytest.mark.parametrize("site", sorted(SITES))
def test_the_simulators_people_are_told_apart_without_having_been_seen(site: str) -> None:
    """A day of some hundred users: the adjusted Rand index against the personas that they are."""
    scenario = Scenario(
        datetime(2026, 3, 1, tzinfo=UTC),
        rate=1.5,
        duration=timedelta(days=1),
        seed=29,
        users=700,
        site=site,
        daily_rhythm=True,
    )
    values, counts, acts, personas = measured(scenario)
    found = learn_people(values, counts, acts, 7, 17)
    assert found is not None
    several = values[:, NAMES.index("events")] > 1
    assert adjusted_rand_score(personas[several], found.assign(values, counts)[0][several]) >= 0.6
