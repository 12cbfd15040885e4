"""Laws of the feature arithmetic over random streams: borders of days and months, jumping clocks, batches run twice."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.features.plain_features import Act, plain_features
from tests.unit.features.random_streams import acts
from tests.unit.features.test_kernel import SHORT, Rows, Tile, rows, same, tiles_of

streams = st.lists(acts(), min_size=1, max_size=60, unique_by=lambda act: act.second)


@settings(max_examples=200, deadline=None)
@given(streams)
def test_each_feature_is_what_its_definition_says_over_borders_and_jumps(stream: list[Act]) -> None:
    expected = plain_features(stream, SHORT)
    found = rows(tiles_of(stream))
    assert found.keys() == expected.keys()
    for minute, row in expected.items():
        assert found[minute][2:] == pytest.approx(tuple(row.values()), abs=1e-9, nan_ok=True), minute


deaths = st.lists(st.sampled_from(["before both", "after tiles", "after features", "after both"]), max_size=6)


@settings(max_examples=200, deadline=None)
@given(streams, st.integers(1, 6), deaths, st.randoms(use_true_random=False))
def test_batches_that_die_between_their_writes_and_run_again_leave_the_rows_of_one_batch(
    stream: list[Act], batches: int, deaths: list[str], chance: random.Random
) -> None:
    parts: list[list[Act]] = [[] for _ in range(batches)]
    for one in stream:
        chance.choice(parts).append(one)
    tiles: dict[int, list[Tile]] = {}
    revisions: dict[int, Rows] = {}
    for number, part in enumerate(parts):
        for attempt in [deaths.pop() if deaths and chance.random() < 0.7 else "done", "done"]:
            fresh = tiles_of(part)
            older = [tile for batch, those in tiles.items() if batch != number for tile in those]
            changed = rows(fresh, older) if fresh else {}
            if attempt in ("after tiles", "after both", "done"):
                tiles.setdefault(number, fresh)
            if attempt in ("after features", "after both", "done"):
                revisions.setdefault(number, changed)
    newest: Rows = {}
    for number in sorted(revisions):
        newest |= revisions[number]
    assert same(newest, rows(tiles_of(stream)))
