"""What was normal when the model was trained; kept beside it as ``behavior.json``.

Reasons, thresholds, percentiles and drift reports read this, never the training data: it holds nobody's row.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from features.errors import ModelError
from training.model import LARGEST, Model, flagged_share_of
from training.thresholds import Distribution, Floats, from_share, quantiles

FEATURE_LEVELS = (0.0, 1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 100.0)
"""Percent at which a feature's training values are kept."""

BINS = 10
"""Bins of about equal share for the comparison of distributions; fewer where values repeat."""


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
        names = tuple(fields.pop("feature_names"))
        return Reference(feature_names=names, row_scores=rows, session_scores=sessions, features=features, **fields)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(f"behavior.json of the model cannot be read: {error!r}. Train the model again.") from error


def describe(model: Model, rows: pd.DataFrame, days: float, flagged_share: float = 0.01) -> Reference:
    """Summarise the rows a model was fitted to.

    ``rows`` holds the features; also, where known, ``user_id`` and ``session_start`` (they give scores per user
    session) and ``weight`` (how many rows of the table each one stands for). ``days`` is the length of the time
    they come from.
    A preset with a share of its own (scikit-learn's ``contamination``) overrules ``flagged_share``.
    """
    scores = model.score(rows)
    weights = rows["weight"].to_numpy(np.float64) if "weight" in rows else np.ones(len(rows))
    by_row = Distribution(_tuple(quantiles(scores, weights)), float(weights.sum()) / days, "rows")
    share = flagged_share_of(model) or flagged_share
    values = model.columns(rows)
    return Reference(
        feature_version=model.feature_version,
        preset=model.preset,
        feature_names=model.feature_names,
        rows=len(rows),
        users=int(rows["user_id"].nunique()) if "user_id" in rows else 0,
        days=days,
        threshold=from_share(share, by_row),
        row_scores=by_row,
        session_scores=_by_session(rows, scores, days),
        features={name: _feature(values[name].to_numpy(), weights) for name in model.feature_names},
    )


def with_threshold(reference: Reference, threshold: float) -> Reference:
    return replace(reference, threshold=threshold)


def _by_session(rows: pd.DataFrame, scores: Floats, days: float) -> Distribution | None:
    """The strangest row of each user session."""
    if not {"user_id", "session_start"} <= set(rows.columns):
        return None
    strangest = pd.Series(scores).groupby([rows["user_id"].to_numpy(), rows["session_start"].to_numpy()]).max()
    return Distribution(_tuple(quantiles(np.asarray(strangest, np.float64))), len(strangest) / days, "user sessions")


def _feature(values: Floats, weights: Floats) -> FeatureReference:
    known = ~np.isnan(values)
    if not known.any():
        nothing = (0.0,) * len(FEATURE_LEVELS)
        return FeatureReference(0.0, nothing, (), (1.0,), 1.0)
    bounded, mass = np.clip(values[known], -LARGEST, LARGEST), weights[known]
    at_levels = np.quantile(bounded, np.array(FEATURE_LEVELS) / 100.0)
    edges = np.unique(np.quantile(bounded, np.arange(1, BINS) / BINS))
    edges = edges[edges < bounded.max()]
    shares = np.bincount(np.searchsorted(edges, bounded, side="left"), mass, len(edges) + 1) / mass.sum()
    missing = float(weights[~known].sum() / weights.sum())
    typical = float(np.median(bounded))
    return FeatureReference(typical, _tuple(at_levels), _tuple(edges), _tuple(shares), missing)


def _distribution(fields: Mapping[str, Any] | None) -> Distribution | None:
    return None if fields is None else Distribution(**_frozen(fields))


def _frozen(fields: Mapping[str, Any]) -> dict[str, Any]:
    """JSON's lists as tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}


def _tuple(values: Floats) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
