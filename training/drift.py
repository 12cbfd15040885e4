"""Is behaviour still what the champion learned? Recent rows against the reference kept with the model.

For each feature and for the scores: the population stability index over the reference's bins, and two distances
between distributions. PSI and the Kolmogorov-Smirnov distance also arise by chance when there are few people: rows of
one user are alike, so users are what counts, and a finding must exceed what chance gives once in a thousand times.

Sources: PSI's law under no change, Yurdakul 2018, "Statistical properties of population stability index": about
``(1/n + 1/m)`` times a chi-squared variable with one degree of freedom less than bins. The bound of the KS distance:
Smirnov 1939, ``sqrt(-ln(p / 2) / 2 * (1/n + 1/m))``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import chi2, norm

from scoring.champion import LoadedModel
from scoring.reference import FEATURE_LEVELS, MAX_VALUE, FeatureReference, Reference
from scoring.thresholds import LEVELS, Floats

CHANCE = 0.001
MIN_SHARE = 1e-4
"""An empty bin counts as so much: the index would be infinite."""

SCORE = "(score)"
FLAG_RATE = "(flag rate)"
"""Subjects besides the features' names."""


@dataclass(frozen=True)
class Limits:
    """What counts as drift; the meanings are in conf/base.yaml, section drift."""

    max_psi: float = 0.25
    max_distance: float = 0.15
    max_flag_rate_factor: float = 3.0
    max_drifted_share: float = 0.25
    min_rows: int = 200


@dataclass(frozen=True)
class Drift:
    """What was found of one subject: a feature, (score) or (flag rate).

    ``psi`` and ``distance`` (Kolmogorov-Smirnov, 0 to 1) are None for the flag rate; ``shift`` is Wasserstein's
    distance in units of the reference's spread. ``expected`` and ``found`` are medians, for the flag rate shares.
    """

    subject: str
    psi: float | None
    distance: float | None
    shift: float | None
    expected: float
    found: float
    drifted: bool


@dataclass(frozen=True)
class Report:
    """All findings; ``retrain`` None: too few rows to tell."""

    rows: int
    users: int
    findings: tuple[Drift, ...]
    retrain: bool | None
    because: str

    def line(self) -> str:
        """The line that a person or a scheduler reads."""
        return f"retrain: {'yes' if self.retrain else 'no'} because {self.because}"


def check(model: LoadedModel, rows: pd.DataFrame, limits: Limits | None = None) -> Report:
    """Compare rows with a model's reference.

    ``rows`` are recent feature rows that can be scored, with ``user_id`` and ``weight`` where known, taken as training
    takes them (:func:`training.dataset.training_rows`), or the comparison would be of samples and not of behaviour.
    """
    limits, reference = limits or Limits(), model.reference
    weights = rows["weight"].to_numpy(np.float64) if "weight" in rows else np.ones(len(rows))
    people = pd.factorize(rows["user_id"])[0] if "user_id" in rows else np.arange(len(rows))
    users = int(people.max(initial=-1)) + 1
    if len(rows) < limits.min_rows:
        return Report(len(rows), users, (), None, f"{len(rows)} rows can be judged and {limits.min_rows} are needed")
    noise = 1.0 / max(users, 1) + 1.0 / max(reference.users or reference.rows, 1)
    values = model.model.columns(rows)
    scores = model.score(values.to_numpy(np.float64))
    findings = [
        _feature(name, reference.features[name], values[name].to_numpy(np.float64), weights, noise, limits)
        for name in reference.feature_names
    ]
    findings.append(_score(scores, weights, reference, noise, limits))
    findings.append(_flag_rate(scores, weights, people, model, limits))
    return Report(len(rows), users, tuple(findings), *_decision(findings, limits))


def psi(expected: Floats, actual: Floats) -> float:
    """Population stability index of two lists of shares, each of which adds up to 1, shape (bins,)."""
    one, other = np.maximum(expected, MIN_SHARE), np.maximum(actual, MIN_SHARE)
    return float(np.sum((other - one) * np.log(other / one)))


def distance(levels: Floats, quantiles: Floats, values: Floats, weights: Floats) -> float:
    """Kolmogorov-Smirnov distance, 0 to 1, of weighted values from a distribution known by its quantiles.

    It is taken at the quantiles that are known, from both sides of each: between them nothing is known. Where quantiles
    are equal the reference jumps, and both sides of the jump are compared.
    """
    order = np.argsort(values, kind="stable")
    ranked, mass = values[order], np.concatenate(([0.0], np.cumsum(weights[order]))) / weights.sum()
    points = np.unique(quantiles)
    below, upto = (mass[np.searchsorted(ranked, points, side=side)] for side in ("left", "right"))
    first = levels[np.searchsorted(quantiles, points, side="left")] / 100.0
    last = levels[np.searchsorted(quantiles, points, side="right") - 1] / 100.0
    # The reference at a point lies between first (just below) and last; only what exceeds this range is a difference.
    over, under = below - last, first - upto
    return float(max(over.max(), under.max(), 0.0))


def shift(levels: Floats, quantiles: Floats, values: Floats, weights: Floats) -> float:
    """Wasserstein's distance (of order 1) in units of the reference's spread.

    That is its 5th to 95th percentile, where these are equal its whole range, and where it has none a unit.
    """
    order = np.argsort(values, kind="stable")
    middle = np.cumsum(weights[order]) - weights[order] / 2
    grid = np.linspace(0.5, 99.5, 199)
    mine = np.interp(grid / 100.0, middle / weights.sum(), values[order])
    theirs = np.interp(grid, levels, quantiles)
    apart = float(np.abs(mine - theirs).mean())
    low, high = np.interp([5.0, 95.0], levels, quantiles)
    return apart / float((high - low) or (quantiles[-1] - quantiles[0]) or 1.0)


def _feature(
    name: str, reference: FeatureReference, values: Floats, weights: Floats, noise: float, limits: Limits
) -> Drift:
    """Missing values are a bin of their own."""
    known = ~np.isnan(values)
    missing = float(weights[~known].sum() / weights.sum())
    shares = np.zeros(len(reference.shares))
    bounded, mass = np.clip(values[known], -MAX_VALUE, MAX_VALUE), weights[known]
    if len(bounded):
        shares = np.bincount(np.searchsorted(reference.edges, bounded, side="left"), mass, len(shares)) / mass.sum()
    expected = np.append(np.array(reference.shares) * (1.0 - reference.missing), reference.missing)
    index = psi(expected, np.append(shares * (1.0 - missing), missing))
    if not len(bounded):
        return Drift(
            name, index, None, None, reference.typical, float("nan"), index > _psi_limit(expected, noise, limits)
        )
    levels, quantiles = np.array(FEATURE_LEVELS), np.array(reference.quantiles)
    apart = distance(levels, quantiles, bounded, np.ones(len(bounded)))
    drifted = index > _psi_limit(expected, noise, limits) or apart > _distance_limit(noise, limits)
    moved = shift(levels, quantiles, bounded, np.ones(len(bounded)))
    return Drift(name, index, apart, moved, reference.typical, float(np.median(bounded)), bool(drifted))


def _score(scores: Floats, weights: Floats, reference: Reference, noise: float, limits: Limits) -> Drift:
    quantiles = np.array(reference.row_scores.quantiles)
    edges = np.unique(np.interp(np.arange(10.0, 100.0, 10.0), LEVELS, quantiles))
    at_edges = np.concatenate(([0.0], np.interp(edges, quantiles, LEVELS / 100.0), [1.0]))
    expected = np.diff(at_edges)
    shares = np.bincount(np.searchsorted(edges, scores, side="left"), weights, len(edges) + 1) / weights.sum()
    index, apart = psi(expected, shares), distance(LEVELS, quantiles, scores, weights)
    drifted = index > _psi_limit(expected, noise, limits) or apart > _distance_limit(noise, limits)
    median = float(np.interp(50.0, LEVELS, quantiles))
    return Drift(
        SCORE, index, apart, shift(LEVELS, quantiles, scores, weights), median, float(np.median(scores)), bool(drifted)
    )


def _flag_rate(scores: Floats, weights: Floats, people: NDArray[np.int64], model: LoadedModel, limits: Limits) -> Drift:
    """The flagged share against that of the training rows, at the threshold in force.

    One bot may make a tenth of all rows, so the share's error is that between users (the ratio estimator of cluster
    sampling, Cochran 1977, section 2.11), and no smaller than if each user gave one row.
    """
    expected = model.reference.row_scores.above(model.threshold)
    flagged, rows = (np.bincount(people, mass) for mass in (weights * (scores >= model.threshold), weights))
    actual, users = float(flagged.sum() / rows.sum()), len(rows)
    between = float(np.sqrt(np.square(flagged - actual * rows).sum()) / rows.sum())
    error = max(between, float(np.sqrt(expected * (1.0 - expected) / users)))
    error *= float(np.sqrt(1.0 + users / max(model.reference.users or model.reference.rows, 1)))
    factor = limits.max_flag_rate_factor
    beyond = actual > factor * expected or actual < expected / factor
    by_chance = abs(actual - expected) <= float(norm.ppf(1.0 - CHANCE / 2.0)) * error
    return Drift(FLAG_RATE, None, None, None, expected, actual, beyond and not by_chance)


def _psi_limit(expected: Floats, noise: float, limits: Limits) -> float:
    bins = max(int((expected > 0.0).sum()), 2)
    return max(limits.max_psi, noise * float(chi2.ppf(1.0 - CHANCE, bins - 1)))


def _distance_limit(noise: float, limits: Limits) -> float:
    return max(limits.max_distance, float(np.sqrt(-np.log(CHANCE / 2.0) / 2.0 * noise)))


def _decision(findings: Sequence[Drift], limits: Limits) -> tuple[bool, str]:
    features = [one for one in findings if one.subject not in (SCORE, FLAG_RATE)]
    drifted = [one.subject for one in features if one.drifted]
    by_name: Mapping[str, Drift] = {one.subject: one for one in findings}
    reasons = []
    if by_name[SCORE].drifted:
        reasons.append(f"scores have drifted (PSI {by_name[SCORE].psi:.2f}, distance {by_name[SCORE].distance:.2f})")
    if by_name[FLAG_RATE].drifted:
        rate = by_name[FLAG_RATE]
        reasons.append(f"{rate.found:.2%} of rows are flagged and {rate.expected:.2%} were expected")
    if len(drifted) > limits.max_drifted_share * len(features):
        reasons.append(f"{len(drifted)} of {len(features)} features have drifted: {', '.join(drifted)}")
    if reasons:
        return True, "; ".join(reasons)
    only = f" ({', '.join(drifted)})" if drifted else ""
    return (
        False,
        f"scores and flag rate are as expected and {len(drifted)} of {len(features)} features have drifted{only}",
    )
