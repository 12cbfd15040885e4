"""What was normal when the model was trained; kept beside it as ``behavior.json``.

Reasons, thresholds, percentiles and drift reports read this, never the training data: it holds nobody's row.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from features.errors import ModelError
from scoring.cohorts import Cohorts
from scoring.thresholds import Distribution, Floats

FEATURE_LEVELS = (0.0, 0.1, 1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 100.0)
"""Percent at which a feature's training values are kept."""

MAX_VALUE = 1e9
"""Values beyond it are taken as it: far outside anything a person does, far inside of float32."""


@dataclass(frozen=True)
class FeatureReference:
    """Training values of one feature: typical is the median, quantiles lie at FEATURE_LEVELS.

    ``edges`` (ascending, the inner ones only) cut the values into ``len(edges) + 1`` bins (value > edge goes on);
    ``shares`` are the bins' shares of known values, ``missing`` the share of rows without a value.
    """

    typical: float
    quantiles: tuple[float, ...]
    edges: tuple[float, ...]
    shares: tuple[float, ...]
    missing: float

    def quantile(self, percent: float) -> float:
        """The value below which that percentage of training rows lies."""
        return float(np.interp(percent, FEATURE_LEVELS, self.quantiles))


@dataclass(frozen=True)
class Reference:
    """Everything about normal that scoring, thresholds, reasons and drift need."""

    feature_version: str
    preset: str
    feature_names: tuple[str, ...]
    rows: int
    users: int
    days: float
    threshold: float
    row_scores: Distribution
    session_scores: Distribution | None
    features: Mapping[str, FeatureReference]
    cohorts: Cohorts | None = None

    @property
    def alerts(self) -> Distribution:
        """What alerts are counted by: the strangest minute of each user session, rows where sessions are unknown."""
        return self.session_scores or self.row_scores

    def typical(self) -> Floats:
        """Typical values in the model's order, shape (features,)."""
        return np.array([self.features[name].typical for name in self.feature_names])

    def to_json(self) -> str:
        return json.dumps(asdict(self), allow_nan=False, indent=1)


def from_json(text: str) -> Reference:
    """The reverse of :meth:`Reference.to_json`. Raises ModelError when something is missing or of a wrong shape."""
    try:
        fields = json.loads(text)
        features = {name: FeatureReference(**_frozen(values)) for name, values in fields.pop("features").items()}
        rows, sessions = (_distribution(fields.pop(name)) for name in ("row_scores", "session_scores"))
        if rows is None:
            raise ValueError("row_scores is empty")
        names, cohorts = tuple(fields.pop("feature_names")), _cohorts(fields.pop("cohorts", None))
        return Reference(
            feature_names=names,
            row_scores=rows,
            session_scores=sessions,
            features=features,
            cohorts=cohorts,
            **fields,
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(f"behavior.json of the model cannot be read: {error!r}. Train the model again.") from error


def _distribution(fields: Mapping[str, Any] | None) -> Distribution | None:
    return None if fields is None else Distribution(**_frozen(fields))


def _cohorts(fields: Mapping[str, Any] | None) -> Cohorts | None:
    return None if fields is None else Cohorts(fields["border"], _frozen(fields["typical"]))


def _frozen(fields: Mapping[str, Any]) -> dict[str, Any]:
    """JSON's lists as tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
