"""From a fitted model and its training rows to the :class:`scoring.reference.Reference` kept beside it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scoring.cohorts import PAST, learn
from scoring.model import Model
from scoring.reference import FEATURE_LEVELS, MAX_VALUE, FeatureReference, Reference
from scoring.thresholds import Distribution, Floats, from_share, quantiles
from training.model import flagged_share_of

BINS = 10
"""Bins of about equal share for the comparison of distributions; fewer where values repeat."""


def describe(model: Model, rows: pd.DataFrame, days: float, flagged_share: float = 0.01) -> Reference:
    """Summarise the rows a model was fitted to.

    ``rows`` holds the features; also, where known, ``user_id`` and ``session_start`` (they give scores per user
    session), ``weight`` (how many rows of the table each one stands for), ``session_weight`` (how many sessions its
    session) and ``own_past_minutes`` (it gives what is usual among users alike). ``days`` is the length of the time
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
        cohorts=learn(values.clip(-MAX_VALUE, MAX_VALUE), rows[PAST].to_numpy(np.float64)) if PAST in rows else None,
    )


def _by_session(rows: pd.DataFrame, scores: Floats, days: float) -> Distribution | None:
    """The strangest row of each user session, as often as sessions come in the table that rows were drawn from."""
    if not {"user_id", "session_start"} <= set(rows.columns):
        return None
    stands_for = rows["session_weight"].to_numpy(np.float64) if "session_weight" in rows else np.ones(len(rows))
    by_row = pd.DataFrame({"score": scores, "weight": stands_for})
    sessions = by_row.groupby([rows["user_id"].to_numpy(), rows["session_start"].to_numpy()]).max()
    scored, weights = (sessions[name].to_numpy(np.float64) for name in ("score", "weight"))
    even = bool((weights == weights[0]).all())
    return Distribution(
        _tuple(quantiles(scored, None if even else weights)), float(weights.sum()) / days, "user sessions"
    )


def _feature(values: Floats, weights: Floats) -> FeatureReference:
    known = ~np.isnan(values)
    if not known.any():
        nothing = (0.0,) * len(FEATURE_LEVELS)
        return FeatureReference(0.0, nothing, (), (1.0,), 1.0)
    bounded, mass = np.clip(values[known], -MAX_VALUE, MAX_VALUE), weights[known]
    at_levels = np.quantile(bounded, np.array(FEATURE_LEVELS) / 100.0)
    edges = np.unique(np.quantile(bounded, np.arange(1, BINS) / BINS))
    edges = edges[edges < bounded.max()]
    shares = np.bincount(np.searchsorted(edges, bounded, side="left"), mass, len(edges) + 1) / mass.sum()
    missing = float(weights[~known].sum() / weights.sum())
    typical = float(np.median(bounded))
    return FeatureReference(typical, _tuple(at_levels), _tuple(edges), _tuple(shares), missing)


def _tuple(values: Floats) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
