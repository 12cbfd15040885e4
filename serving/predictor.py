"""Answers to "is this behaviour strange?": feature values by name in, what the page and other services read out.

One row takes the compiled forest's own way; many rows, and reasons, go through the scorer that Spark's workers use, so
that the numbers are the same everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scoring.arrays import ANOMALY, INSUFFICIENT, NORMAL, SESSION_EVENTS, Rules, Scorer, inputs_of
from scoring.champion import LoadedModel
from scoring.forest import Floats
from scoring.frames import scorer_of
from scoring.thresholds import percentile

Values = Mapping[str, float]
Answer = dict[str, Any]

PREDICTIONS = {ANOMALY: "Anomaly", NORMAL: "Normal", INSUFFICIENT: "Normal"}
"""The original contract knows two words; what cannot be scored is not called an anomaly."""


@dataclass(frozen=True, eq=False)
class Predictor:
    """One version of the model, prepared. It never changes, so a request that holds it is of one mind to its end."""

    model: LoadedModel
    rules: Rules
    scorer: Scorer
    place: Mapping[str, int]
    typical: Mapping[str, float]
    levels: Floats

    @classmethod
    def of(cls, model: LoadedModel, rules: Rules) -> Predictor:
        """Prepare a version: what is compiled on first use is compiled here, so that no request waits for it."""
        names = model.model.feature_names
        predictor = cls(
            model,
            rules,
            scorer_of(model, rules),
            {name: place for place, name in enumerate(names)},
            dict(zip(names, model.reference.typical().tolist(), strict=True)),
            np.array(model.reference.row_scores.quantiles),
        )
        predictor.answer({})
        predictor._reasons([{name: values.quantiles[-1] for name, values in model.reference.features.items()}])
        return predictor

    @property
    def origin(self) -> Answer:
        """Which model it is, as every answer says it."""
        return {
            "threshold": self.model.threshold,
            "model_name": self.model.name,
            "model_version": self.model.version,
        }

    def answer(self, values: Values) -> Answer:
        """The answer for one row of feature values; features that are left out are taken as typical."""
        if not self._can_be_scored(values):
            return self._answer(values, None, None, INSUFFICIENT, [])
        row = np.full((1, len(self.place)), np.nan)
        for name, value in values.items():
            if name in self.place:
                row[0, self.place[name]] = value
        scores = self.model.score(row)
        score, percent = float(scores[0]), float(percentile(scores, self.levels)[0])
        if score < self.model.threshold:
            return self._answer(values, score, percent, NORMAL, [])
        return self._answer(values, score, percent, ANOMALY, self._reasons([values])[0])

    def answers(self, rows: Sequence[Values]) -> list[Answer]:
        """:meth:`answer` for many rows: the same answers, scored together."""
        known = np.array([self._can_be_scored(values) for values in rows], np.bool_)
        scored = self.scorer.score(self._columns(rows), can_be_scored=known)
        answers = []
        for place, values in enumerate(rows):
            if not known[place]:
                answers.append(self._answer(values, None, None, INSUFFICIENT, []))
                continue
            score = float(scored.scores[place])
            verdict = ANOMALY if score >= self.model.threshold else NORMAL
            answers.append(
                self._answer(values, score, float(scored.percentiles[place]), verdict, scored.reasons[place])
            )
        return answers

    def _can_be_scored(self, values: Values) -> bool:
        return not values.get(SESSION_EVENTS, np.inf) < self.rules.min_session_events

    def _columns(self, rows: Sequence[Values]) -> dict[str, Floats]:
        names = inputs_of(self.scorer.names)
        return {name: np.array([values.get(name, np.nan) for values in rows], np.float64) for name in names}

    def _reasons(self, rows: Sequence[Values]) -> list[list[Any]]:
        scored = self.scorer.score(self._columns(rows), can_be_scored=np.ones(len(rows), np.bool_))
        return [reasons or [] for reasons in scored.reasons]

    def _answer(
        self, values: Values, score: float | None, percent: float | None, verdict: str, reasons: list[Any] | None
    ) -> Answer:
        return {
            "behavior_prediction": PREDICTIONS[verdict],
            "verdict": verdict,
            "anomaly_score": score,
            "anomaly_percentile": percent,
            "threshold": self.model.threshold,
            "reasons": reasons or [],
            "model_name": self.model.name,
            "model_version": self.model.version,
            "assumed_typical": {name: value for name, value in self.typical.items() if name not in values},
            "not_used": [name for name in values if name not in self.place],
        }
