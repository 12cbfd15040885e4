from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest

from training.grove import ACTIONS, ONE_IN, ONLY_ACTIONS, grow

NAMES = ["events_per_minute", "session_minutes", *ACTIONS]
ROWS = np.random.default_rng(1).random((200, len(NAMES)))
SENDER = np.array([[0.5, 0.5, 0.0, 0.1, 0.9, 0.9]])
"""Ordinary in pace and length; nine in ten events send the same form again."""


def columns_of(forest: IsolationForest) -> list[set[str]]:
    return [{NAMES[column] for column in columns} for columns in forest.estimators_features_]


def paths(forest: IsolationForest, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """What equation 2 of the paper was put to: mean path length over the average one, shape (rows,)."""
    return np.asarray(-np.log2(-forest.score_samples(rows)), np.float64)


def test_one_tree_in_six_looks_at_actions_alone_and_the_others_at_the_whole() -> None:
    seen = columns_of(grow(ROWS, NAMES, 24, 64, 3))
    assert seen == [set(NAMES) - set(ONLY_ACTIONS)] * 20 + [set(ACTIONS)] * 4


def test_too_few_trees_for_a_group_of_their_own_look_at_the_whole() -> None:
    assert columns_of(grow(ROWS, NAMES, ONE_IN - 1, 64, 3)) == [set(NAMES) - set(ONLY_ACTIONS)] * (ONE_IN - 1)


def test_a_path_is_the_mean_of_the_groups_paths_by_their_trees() -> None:
    both = grow(ROWS, NAMES, 12, 64, 3)
    parts = []
    for at, seed, trees in (([0, 1, 2, 3, 5], 3, 10), ([2, 3, 4, 5], 4, 2)):
        part = IsolationForest(n_estimators=trees, max_samples=64, random_state=seed).fit(ROWS[:, at])
        parts.append(trees * paths(part, ROWS[:, at]))
    np.testing.assert_allclose(paths(both, ROWS), sum(parts) / 12, rtol=1e-5)


def test_where_nobody_differs_in_actions_the_order_is_that_of_the_whole() -> None:
    same = ROWS.copy()
    same[:, 2:] = 0.25
    grown, whole = grow(same, NAMES, 60, 64, 3), grow(same, NAMES, 60, 64, 3)
    for name in ("estimators_", "estimators_features_", "_decision_path_lengths", "_average_path_length_per_tree"):
        vars(whole)[name] = vars(whole)[name][:50]
    order = np.argsort(grown.score_samples(same))
    assert (np.diff(whole.score_samples(same)[order]) >= -1e-6).all()


def test_who_does_nothing_but_send_a_form_again_is_stranger_for_the_group() -> None:
    rows = np.random.default_rng(2).random((400, len(NAMES)))
    rows[:, 4:] *= 0.2
    grown = grow(rows, NAMES, 120, 64, 3)
    whole = IsolationForest(n_estimators=120, max_samples=64, random_state=3).fit(rows)
    rank = [(-forest.score_samples(rows) < -forest.score_samples(SENDER)).mean() for forest in (grown, whole)]
    assert rank[0] > rank[1]
