"""Users like this one: what is usual for those who are new, known a little, or known well.

A user's cohort follows from the active minutes of the own past before the session (feature ``own_past_minutes``), so
it looks at no later minute and is the same in stream and batch. Where new users end is a definition; where "a little"
ends is the median of the training rows that have a past.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scoring.thresholds import Floats

PAST = "own_past_minutes"
COHORTS = ("new users", "users who come seldom", "users who come often")
MIN_ROWS = 20
"""Fewer training rows say nothing about what is usual in a cohort."""


@dataclass(frozen=True)
class Cohorts:
    """The border in active minutes between seldom and often, and typical values (medians) by feature and cohort.

    ``typical[name]`` has an entry for each of :data:`COHORTS`; None where too few rows were seen.
    """

    border: float
    typical: Mapping[str, tuple[float | None, ...]]

    def usual(self, name: str, past: float) -> tuple[str, float] | None:
        """The cohort of a user with ``past`` active minutes, and what is typical in it; None where it is not known."""
        if math.isnan(past) or name not in self.typical:
            return None
        place = cohort_of(np.array([past]), self.border)[0]
        value = self.typical[name][place]
        return None if value is None else (COHORTS[place], value)


def cohort_of(past: Floats, border: float) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Index into :data:`COHORTS`, shape (rows,), of active minutes before the session, shape (rows,)."""
    return (past > 0).astype(np.int64) + (past > border)


def learn(values: pd.DataFrame, past: Floats) -> Cohorts:
    """Typical values of each column of ``values`` by cohort; ``past`` is the rows' :data:`PAST`, shape (rows,)."""
    known = past[past > 0]
    border = float(np.median(known)) if len(known) else math.inf
    place = cohort_of(np.nan_to_num(past), border)
    typical = {
        str(name): tuple(_median(values[name].to_numpy(np.float64)[place == k]) for k in range(len(COHORTS)))
        for name in values.columns
    }
    return Cohorts(border if math.isfinite(border) else 0.0, typical)


def _median(values: Floats) -> float | None:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) >= MIN_ROWS else None
