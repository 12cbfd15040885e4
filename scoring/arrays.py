"""Scores, percentiles and reasons of plain arrays: what a Spark worker and the HTTP API do alike.

scikit-learn is not imported here: a worker loads numpy and numba only, unless the estimator is no IsolationForest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from scoring.cohorts import PAST
from scoring.explain import Explainer, explainer
from scoring.forest import Floats, Forest
from scoring.reasons import OWN_EVENTS, OWN_RATIO, Reason, own_rate_of, reasons_of
from scoring.reference import MAX_VALUE, FeatureReference, Reference
from scoring.thresholds import percentile

SESSION_EVENTS = "session_events"
CONTEXT = (SESSION_EVENTS, OWN_EVENTS, OWN_RATIO, PAST)
"""Features scores need besides the model's own."""

NORMAL, ANOMALY, INSUFFICIENT = "normal", "anomaly", "insufficient_data"
FAILED = "failed"
"""Of a challenger that raised an error."""


def inputs_of(names: Sequence[str]) -> tuple[str, ...]:
    """The columns scores are made of: the model's, then what else it needs."""
    return (*names, *(name for name in CONTEXT if name not in names))


@dataclass(frozen=True)
class Rules:
    """How rows are scored: fewer events in the session cannot be, and at most so many reasons are given."""

    min_session_events: int = 5
    max_reasons: int = 3


@dataclass(frozen=True)
class RowScores:
    """One entry per row: score and percentile are NaN where a row cannot be scored, reasons None unless flagged."""

    scores: Floats
    percentiles: Floats
    reasons: list[list[Reason] | None]


@dataclass(frozen=True)
class Scorer:
    """A model and its rules. ``fallback`` scores raw values when there is no compiled forest (no reasons then)."""

    names: tuple[str, ...]
    reference: Reference
    threshold: float
    rules: Rules
    forest: Forest | None
    fallback: Callable[[Floats], Floats] | None = None

    def score(self, columns: Mapping[str, Floats], can_be_scored: NDArray[np.bool_] | None = None) -> RowScores:
        """Scorer rows given as one array of shape (rows,) for each of :func:`inputs_of` the model; NaN is missing.

        Rows can be scored when their session has enough events, unless the caller says which can.
        """
        if can_be_scored is None:
            can_be_scored = columns[SESSION_EVENTS] >= self.rules.min_session_events
        rows, scored = len(can_be_scored), np.flatnonzero(can_be_scored)
        scores = np.full(rows, np.nan)
        values = np.empty((len(scored), len(self.names)))
        for place, name in enumerate(self.names):
            values[:, place] = columns[name][scored]
        scores[scored] = self._score(values)
        flagged = np.flatnonzero(scores[scored] >= self.threshold)
        reasons: list[list[Reason] | None] = [None] * rows
        for row, row_reasons in zip(
            scored[flagged], self._reasons(values[flagged], columns, scored[flagged]), strict=True
        ):
            reasons[row] = row_reasons
        return RowScores(scores, percentile(scores, self._score_quantiles), reasons)

    def _score(self, values: Floats) -> Floats:
        if not len(values):
            return np.empty(0)
        if self.forest is not None:
            return self.forest.score(values)
        if self.fallback is None:
            raise ValueError("a scorer needs a forest or a fallback")
        return self.fallback(values)

    def _reasons(self, values: Floats, columns: Mapping[str, Floats], rows: NDArray[np.int64]) -> list[list[Reason]]:
        if self.rules.max_reasons < 1 or self.forest is None or self._explainer is None or not len(values):
            return [[] for _ in rows]
        contributions, usual = self._explainer.contributions(values), self.forest.usual(values)
        shown = np.clip(values, -MAX_VALUE, MAX_VALUE)
        own = [own_rate_of({name: float(columns[name][row]) for name in (OWN_EVENTS, OWN_RATIO)}) for row in rows]
        past, cohorts = columns[PAST], self.reference.cohorts
        alike = [None if cohorts is None else partial(cohorts.usual, past=float(past[row])) for row in rows]
        return [
            reasons_of(contributions[i], shown[i], usual[i], self._normal, self.rules.max_reasons, own[i], alike[i])
            for i in range(len(values))
        ]

    @cached_property
    def _normal(self) -> list[tuple[str, FeatureReference]]:
        return [(name, self.reference.features[name]) for name in self.names]

    @cached_property
    def _explainer(self) -> Explainer | None:
        return None if self.forest is None else explainer(self.forest)

    @cached_property
    def _score_quantiles(self) -> Floats:
        return np.array(self.reference.row_scores.quantiles)
