from __future__ import annotations

from functools import cache

import pandas as pd
import pytest

from features.errors import UsageError
from scoring.model import Parameters
from simulation.rows import trial
from tests.unit.training.samples import SMALL, feature_rows
from training.search import SUBSAMPLES, TREES, candidates, search


@cache
def day() -> pd.DataFrame:
    return trial([1], users=120)


def test_candidates_begin_with_the_settings_and_are_drawn_by_the_seed() -> None:
    drawn = candidates(6, SMALL)
    assert drawn == candidates(6, SMALL)
    assert drawn[0] == SMALL
    assert len(set(drawn)) == 6
    assert candidates(6, Parameters(SMALL.trees, SMALL.subsample, seed=9))[1:] != drawn[1:]


def test_there_are_no_more_candidates_than_there_are_combinations() -> None:
    assert len(candidates(1000, Parameters())) == len(TREES) * len(SUBSAMPLES)


def test_the_best_is_the_most_stable_with_the_most_recall_and_a_search_repeats() -> None:
    said: list[str] = []
    best, tried = search(feature_rows(), "default", Parameters(2, 8, 3), 3, day(), tell=said.append)
    assert best == tried[0].parameters
    assert [one.value for one in tried] == sorted((one.value for one in tried), reverse=True)
    assert best != Parameters(2, 8, 3)
    assert len(said) == 3
    assert search(feature_rows(), "default", Parameters(2, 8, 3), 3, day())[0] == best


def test_of_a_detector_without_trees_no_trees_are_searched() -> None:
    with pytest.raises(UsageError, match=r"which preset 'lof' has not.*one of default, plain"):
        search(feature_rows(), "lof", SMALL, 3, day())


def test_a_search_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="--search 0"):
        search(feature_rows(), "default", SMALL, 0, day())
