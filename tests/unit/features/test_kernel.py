"""Laws of the feature arithmetic, without Spark."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.behavior import SessionRules
from features.counts import COUNT_NAMES, COUNTS
from features.definitions import FEATURE_NAMES
from features.kernel import NEVER, NONE, rows_of
from tests.unit.features.plain_features import Act, plain_features, session_of_each_minute

SHORT = SessionRules(gap=3, longest=10, own_past=25)
"""Small lengths, so that random streams meet every border."""

Tile = tuple[int, ...]
Rows = dict[int, tuple[float, ...]]


def tiles_of(acts: Iterable[Act]) -> list[Tile]:
    """Fold acts into partial tiles as features.tiles does: minute, page, counts, mask, mark."""
    groups: dict[tuple[int, str], list[Act]] = defaultdict(list)
    for act in acts:
        groups[act.minute, act.page].append(act)
    tiles = []
    for (minute, page), group in groups.items():
        mask, mark = 0, NONE
        for act in group:
            mask |= 1 << (act.second % 60)
            if act.session is not None:
                mark = max(mark, (act.second % 60) << 57 | crc32(act.session.encode()))
        counts = [sum(count.action in (None, act.action) for act in group) for count in COUNTS]
        tiles.append((minute, crc32(page.encode()), *counts, mask, mark))
    return tiles


def rows(fresh: Sequence[Tile], older: Sequence[Tile] = (), rules: SessionRules = SHORT) -> Rows:
    """Minute -> (session start, split, features...) of one user."""
    everything = sorted([(tile, True) for tile in fresh] + [(tile, False) for tile in older], key=lambda x: x[0][0])
    names = ["minute", "page", *COUNT_NAMES, "second_mask", "session_mark"]
    columns = {name: np.array([tile[i] for tile, _ in everything], np.int64) for i, name in enumerate(names)}
    columns["received"] = np.full(len(everything), NEVER, np.int64)
    columns["fresh"] = np.array([is_fresh for _, is_fresh in everything], np.bool_)
    heads, values = rows_of(columns, np.array([0, len(everything)], np.int64), rules.lengths)
    return {
        int(head["minute"]): (float(head["first_minute"]), float(head["is_split"]), *map(float, row))
        for head, row in zip(heads, values, strict=True)
    }


def same(left: Rows, right: Rows) -> bool:
    """Equal to the bit, NaN equal to NaN."""
    return left.keys() == right.keys() and all(
        np.array_equal(np.array(left[m]), np.array(right[m]), equal_nan=True) for m in left
    )


DAYS = SessionRules(gap=30, longest=120, own_past=600)
"""Lengths under which the hours of the day matter."""
seconds_of_three_days = st.tuples(st.integers(0, 71), st.integers(0, 3599)).map(lambda at: at[0] * 3600 + at[1])
actions = st.sampled_from(["click", "view", "interaction", "asset"])
pages = st.sampled_from(["/a", "/b", "/c", "/d"])

act = st.builds(
    Act,
    second=st.integers(0, 70 * 60),
    action=actions,
    page=pages,
    session=st.sampled_from([None, None, None, "s1", "s2"]),
)
acts = st.lists(act, min_size=1, max_size=60, unique_by=lambda a: a.second)


@settings(max_examples=300, deadline=None)
@given(acts)
def test_each_feature_is_what_its_definition_says(stream: list[Act]) -> None:
    expected = plain_features(stream, SHORT)
    found = rows(tiles_of(stream))
    assert found.keys() == expected.keys()
    for minute, row in expected.items():
        assert found[minute][2:] == pytest.approx(tuple(row.values()), abs=1e-9, nan_ok=True), (minute, FEATURE_NAMES)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.builds(Act, second=seconds_of_three_days, action=actions, page=pages), min_size=1, max_size=30))
def test_features_of_the_own_hours_are_what_their_definitions_say(stream: list[Act]) -> None:
    expected = plain_features(stream, DAYS)
    for minute, row in rows(tiles_of(stream), rules=DAYS).items():
        assert row[2:] == pytest.approx(tuple(expected[minute].values()), abs=1e-9, nan_ok=True), minute


def of(stream: Sequence[Act], minute: int, name: str) -> float:
    return rows(tiles_of(stream), rules=SessionRules())[minute][2 + FEATURE_NAMES.index(name)]


def test_the_same_form_sent_again_and_again_is_told_from_many_forms() -> None:
    same = [Act(second, "interaction", "/login") for second in range(0, 50, 10)]
    many = [Act(second, "interaction", f"/{second}") for second in range(0, 50, 10)]
    assert (of(same, 0, "form_repeats"), of(same, 0, "form_repeat_share")) == (4.0, 0.8)
    assert (of(many, 0, "form_repeats"), of(many, 0, "form_repeat_share")) == (0.0, 0.0)


def test_another_hand_on_an_account_shows_in_volume_mix_and_hours() -> None:
    usual = [Act(60 * (hour * 60 + minute)) for hour in (9, 12) for minute in range(5)]
    intruder = [Act(60 * (20 * 60) + second, "interaction", "/account") for second in range(20)]
    found = {name: of([*usual, *intruder], 1200, name) for name in ("own_volume_ratio", "own_mix_shift")}
    assert found == {"own_volume_ratio": 4.0, "own_mix_shift": 1.0}
    assert of([*usual, *intruder], 1200, "own_night_share") == 1.0
    assert of([*usual, Act(60 * 20 * 60)], 1200, "own_mix_shift") == 0.0


@settings(max_examples=300, deadline=None)
@given(acts)
def test_sessions_are_what_their_rules_say(stream: list[Act]) -> None:
    sessions = session_of_each_minute(stream, SHORT)
    found = rows(tiles_of(stream))
    for minute, (identity, split) in sessions.items():
        first = min(m for m, other in sessions.items() if other == (identity, split))
        assert found[minute][:2] == (first, split)


@settings(max_examples=300, deadline=None)
@given(acts, st.integers(1, 8), st.randoms(use_true_random=False))
def test_any_split_into_micro_batches_in_any_order_gives_the_rows_of_one_batch(
    stream: list[Act], batches: int, chance: random.Random
) -> None:
    parts: list[list[Act]] = [[] for _ in range(batches)]
    for one in stream:
        chance.choice(parts).append(one)
    table: list[Tile] = []
    latest: Rows = {}
    for part in parts:
        fresh = tiles_of(part)
        if fresh:
            # Of each fresh tile the times around it, and nothing of what is between two of them that are far apart.
            near = [t for t in table if any(abs(t[0] - one[0]) <= SHORT.look_back for one in fresh)]
            latest |= rows(fresh, near)
        table += fresh
    assert same(latest, rows(tiles_of(stream)))


@settings(max_examples=200, deadline=None)
@given(acts, st.integers(0, 70))
def test_no_row_looks_at_later_minutes(stream: list[Act], minute: int) -> None:
    until = [one for one in stream if one.minute <= minute]
    if until:
        everything = rows(tiles_of(stream))
        assert same(rows(tiles_of(until)), {m: row for m, row in everything.items() if m <= minute})


def test_a_minute_without_fresh_tiles_near_is_not_written_again() -> None:
    older = tiles_of([Act(0), Act(60)])
    assert list(rows(tiles_of([Act(300)]), older)) == [5]


def test_the_look_back_bounds_what_a_late_event_can_change() -> None:
    far = SHORT.look_back + 1
    stream = [Act(0), Act(far * 60), Act((far + 1) * 60)]
    assert list(rows(tiles_of([Act(1)]), tiles_of(stream))) == [0]


def test_between_two_new_events_far_apart_no_row_is_written_whose_past_is_not_in_sight() -> None:
    far = 3 * SHORT.look_back
    known = tiles_of([Act(60 * minute, page=f"/{minute % 7}") for minute in range(1, far, 2)])
    fresh = tiles_of([Act(0), Act(60 * far)])
    near = [t for t in known if any(abs(t[0] - one[0]) <= SHORT.look_back for one in fresh)]
    found, right = rows(fresh, near), rows([*fresh, *known])
    assert same(found, {minute: right[minute] for minute in found})
    assert set(found) == {0, *range(1, SHORT.look_back + 1, 2), far}
