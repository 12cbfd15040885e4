from __future__ import annotations

from functools import cache
from itertools import combinations
from math import factorial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from scoring.explain import LANES, Explainer, boxes_of, explainer
from scoring.flatten import flatten
from scoring.forest import Floats, Forest, Preparation, Trees
from tests.unit.training.samples import bot_row, feature_rows, small_model

LEAF = np.float32(np.inf)


def forest_of(trees: Trees, columns: int, scale: float = 2.0) -> Forest:
    """A forest over raw columns: nothing is bounded, compressed or missing."""
    wide = np.full(columns, 1e30)
    plain = Preparation(np.arange(columns), np.zeros(columns), -wide, wide, np.zeros(columns, np.bool_))
    return Forest(columns, plain, trees, scale)


def stump() -> Forest:
    """A value above 10 is alone at once (path 1), the 9 other training rows are deep (path 4)."""
    return forest_of(
        Trees(
            column=np.array([0, 0, 0], np.uint32),
            threshold=np.array([10, LEAF, LEAF], np.float32),
            child=np.array([1, 1, 2], np.uint32),
            path=np.array([0.0, 4.0, 1.0]),
            rows=np.array([10.0, 9.0, 1.0]),
            roots=np.array([0], np.uint32),
            depth=np.array([1], np.int64),
        ),
        columns=1,
    )


def random_tree(random: np.random.Generator, columns: int, levels: int) -> Trees:
    """A tree in the forest's layout with random splits; features repeat on a path."""
    column, threshold, child, path, rows, level = [0], [LEAF], [0], [0.0], [64.0], [0]
    for node in range(2**levels):
        if node >= len(column) or level[node] >= levels or rows[node] < 2 or (node and random.random() < 0.2):
            if node < len(column):
                child[node], path[node] = node, level[node] + random.random()
            continue
        left = float(random.integers(1, int(rows[node])))
        column[node], threshold[node], child[node] = (
            int(random.integers(columns)),
            np.float32(random.random()),
            len(column),
        )
        for share in (left, rows[node] - left):
            column.append(0)
            threshold.append(LEAF)
            child.append(len(child))
            path.append(level[node] + 1 + random.random())
            rows.append(share)
            level.append(level[node] + 1)
    return Trees(
        np.array(column, np.uint32),
        np.array(threshold, np.float32),
        np.array(child, np.uint32),
        np.array(path),
        np.array(rows),
        np.zeros(1, np.uint32),
        np.array([max(level)], np.int64),
    )


def together(trees: list[Trees]) -> Trees:
    starts = np.cumsum([0] + [len(tree.child) for tree in trees])[:-1].astype(np.uint32)
    joined = [
        np.concatenate([getattr(tree, name) for tree in trees]) for name in ("column", "threshold", "path", "rows")
    ]
    child = np.concatenate([tree.child + start for tree, start in zip(trees, starts, strict=True)])
    depth = np.concatenate([tree.depth for tree in trees])
    return Trees(joined[0], joined[1], child, joined[2], joined[3], starts, depth)


def expected_path(forest: Forest, row: Floats, known: frozenset[int]) -> float:
    """The game: the mean path length when only some features are known, by its definition."""
    trees = forest.trees

    def below(node: int) -> float:
        child = int(trees.child[node])
        if child == node:
            return float(trees.path[node])
        if int(trees.column[node]) in known:
            return below(child + int(np.float32(row[trees.column[node]]) > trees.threshold[node]))
        both = trees.rows[child] * below(child) + trees.rows[child + 1] * below(child + 1)
        return float(both / trees.rows[node])

    return float(np.mean([below(int(root)) for root in trees.roots]))


def shapley(forest: Forest, row: Floats) -> Floats:
    """Shapley values by their definition: the sum over all subsets (Shapley 1953)."""
    columns = range(forest.width)
    game = cache(lambda known: expected_path(forest, row, known))
    values = np.zeros(forest.width)
    for i in columns:
        others = [j for j in columns if j != i]
        for size in range(forest.width):
            weight = factorial(size) * factorial(forest.width - size - 1) / factorial(forest.width)
            for subset in map(frozenset, combinations(others, size)):
                values[i] += weight * (game(subset | {i}) - game(subset))
    return values


def of_model() -> Explainer:
    forest = flatten(small_model())
    assert forest is not None
    return explainer(forest)


@pytest.mark.parametrize("columns", [1, 2, 4, 6])
@pytest.mark.parametrize("levels", [1, 3, 7])
def test_the_values_are_those_of_the_sum_over_all_subsets(columns: int, levels: int) -> None:
    random = np.random.default_rng(columns * 10 + levels)
    forest = forest_of(together([random_tree(random, columns, levels) for _ in range(4)]), columns)
    rows = random.random((3, columns))
    expected = [shapley(forest, row) for row in rows]
    np.testing.assert_allclose(explainer(forest).path_contributions(rows), expected, atol=1e-12)


def test_what_isolates_a_row_early_makes_it_stranger() -> None:
    found = explainer(stump())
    early, deep = found.contributions(np.array([[11.0], [3.0]]))[:, 0]
    base = 2.0 ** -((9 * 4.0 + 1.0) / 10 / 2.0)
    np.testing.assert_allclose([found.base_score, early, deep], [base, 2.0**-0.5 - base, 2.0**-2.0 - base])
    assert early > 0 > deep


@settings(max_examples=15, deadline=None)
@given(arrays(np.float64, (2, small_model().columns(feature_rows(1)).shape[1]), elements=st.floats(width=64)))
def test_contributions_and_base_add_up_to_the_score(values: Floats) -> None:
    found = of_model()
    total = found.base_score + found.contributions(values).sum(axis=1)
    np.testing.assert_allclose(total, found.forest.score(values), atol=1e-12)


def test_a_row_at_the_base_is_explained_without_dividing_by_nothing() -> None:
    same = stump()
    level = forest_of(same.trees._replace(path=np.array([0.0, 3.0, 3.0])), 1)
    np.testing.assert_allclose(explainer(level).contributions(np.array([[11.0]])), [[0.0]], atol=1e-12)


def test_a_tree_that_is_one_leaf_explains_nothing() -> None:
    leaf = Trees(
        np.zeros(1, np.uint32),
        np.array([LEAF], np.float32),
        np.zeros(1, np.uint32),
        np.array([1.5]),
        np.ones(1),
        np.zeros(1, np.uint32),
        np.zeros(1, np.int64),
    )
    found = explainer(forest_of(together([leaf, stump().trees]), 1))
    np.testing.assert_allclose(found.base_path, (1.5 + 3.7) / 2)
    np.testing.assert_allclose(found.path_contributions(np.array([[11.0]])), [[(1.0 - 3.7) / 2]])


def test_the_base_is_the_mean_path_of_the_training_rows() -> None:
    found = of_model()
    trees = found.forest.trees
    leaf = trees.child == np.arange(len(trees.child))
    root_rows = trees.rows[trees.roots][0]
    np.testing.assert_allclose(found.base_path, (trees.path * trees.rows)[leaf].sum() / root_rows / len(trees.roots))


def test_every_leaf_is_a_box_and_the_boxes_of_a_tree_fill_the_space() -> None:
    forest = of_model().forest
    boxes = boxes_of(forest.trees)
    rows = forest.prepared(small_model().columns(feature_rows(5)).to_numpy())
    side_holds = (rows[:, boxes.column] > boxes.low) & (rows[:, boxes.column] <= boxes.high)
    inside = np.logical_and.reduceat(side_holds, boxes.start[:-1], axis=1)
    np.testing.assert_array_equal(inside.sum(axis=1), [len(forest.trees.roots)] * 5)


@pytest.mark.parametrize("count", [0, 1, LANES, LANES + 1])
def test_the_number_of_rows_does_not_matter(count: int) -> None:
    found = of_model()
    values = small_model().columns(feature_rows(LANES + 1)).to_numpy(np.float64)
    np.testing.assert_allclose(found.contributions(values[:count]), found.contributions(values)[:count], atol=1e-15)


def test_a_flood_of_clicks_is_explained_by_clicks() -> None:
    flood = bot_row(clicks_per_minute=400.0)
    names = small_model().feature_names
    contributions = of_model().contributions(small_model().columns(flood).to_numpy(np.float64))[0]
    assert names[int(np.argmax(contributions))] == "clicks_per_minute"
