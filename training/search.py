"""A small search over a forest's parameters, without labels of real people and with a fixed seed.

Each candidate is fitted to the training rows with three seeds. Its value is its stability (the least rank correlation
of a simulated day's scores between neighbouring seeds: what is strange must not depend on luck) plus the mean recall of
that day's strange sessions at the budget. Both lie between 0 and 1. The day belongs to the search alone
(:mod:`training.trial`), so the figures that training reports were not chosen by.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product

import numpy as np
import pandas as pd

from features.errors import UsageError
from scoring.model import Parameters
from training.evaluate import SEEDS, rank_correlation, with_labels
from training.model import FORESTS, fit
from training.trial import scores_of, sessions_of

TREES = (50, 100, 240, 300, 400)
SUBSAMPLES = (64, 128, 256, 512, 1024)


@dataclass(frozen=True)
class Tried:
    """A candidate and what it was worth: ``stability`` and ``recall`` as above, their sum is its value."""

    parameters: Parameters
    stability: float
    recall: float

    @property
    def value(self) -> float:
        return self.stability + self.recall

    def describe(self) -> str:
        """One line for people."""
        return (
            f"{self.parameters.trees} trees of {self.parameters.subsample} rows: "
            f"stability {self.stability:.3f}, recall {self.recall:.3f}"
        )


def candidates(count: int, start: Parameters) -> list[Parameters]:
    """``start`` and others drawn without repetition by its seed: ``count`` in all, or as many as there are."""
    others = [
        replace(start, trees=trees, subsample=subsample)
        for trees, subsample in product(TREES, SUBSAMPLES)
        if (trees, subsample) != (start.trees, start.subsample)
    ]
    order = np.random.default_rng(start.seed).permutation(len(others))
    return [start, *(others[place] for place in order[: count - 1])]


def search(
    rows: pd.DataFrame,
    preset: str,
    start: Parameters,
    count: int,
    trial: pd.DataFrame,
    seeds: Sequence[int] = SEEDS,
    tell: Callable[[str], object] = lambda _: None,
) -> tuple[Parameters, list[Tried]]:
    """The best of ``count`` candidates, and all that were tried, best first; of equal ones the smallest forest.

    Raises UsageError for a preset that has no such parameters, or fewer than 1 candidate.
    """
    if preset not in FORESTS:
        raise UsageError(
            f"--search tries trees and rows per tree, which preset '{preset}' has not: leave --search out, or set "
            f"model.preset to one of {', '.join(FORESTS)}."
        )
    if count < 1:
        raise UsageError(f"--search {count}: needed is a number of candidates, for instance 8.")
    tried = []
    for parameters in candidates(count, start):
        tried.append(_try(rows, preset, parameters, trial, seeds))
        tell(tried[-1].describe())
    tried.sort(key=lambda one: (-round(one.value, 6), one.parameters.trees * one.parameters.subsample))
    return tried[0].parameters, tried


def _try(rows: pd.DataFrame, preset: str, parameters: Parameters, trial: pd.DataFrame, seeds: Sequence[int]) -> Tried:
    scores = [scores_of(fit(rows, preset, replace(parameters, seed=seed)), trial) for seed in seeds]
    stable = min(rank_correlation(one, other) for one, other in pairwise(scores))
    recall = float(np.mean([with_labels(sessions_of(one, trial))["recall"] for one in scores]))
    return Tried(parameters, stable, recall)
