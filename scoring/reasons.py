"""Reasons in plain words: "212 clicks per minute; usually 4, and under 31 for 99 % of all"."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from features.definitions import FEATURES, Feature
from scoring.reference import FeatureReference
from scoring.thresholds import Floats

Reason = dict[str, str | float | None]
"""A row of :data:`features.tables.REASON`."""

COMPARISONS = (99.9, 99.0, 95.0, 90.0)
"""Shares in percent that a value is held against, the most telling first."""

Alike = Callable[[str], tuple[str, float] | None]
"""From a feature's name to the words for users alike and what is typical among them; None where that is not known."""

RATE, SHARE = "events/min", "share"
OWN_RATIO, OWN_EVENTS = "own_rate_ratio", "events_per_minute"

_FEATURE_OF = {feature.name: feature for feature in FEATURES}


def reasons_of(
    contributions: Floats,
    values: Floats,
    usual: NDArray[np.bool_],
    normal: Sequence[tuple[str, FeatureReference]],
    most: int,
    own_rate: float | None = None,
    alike: Alike | None = None,
) -> list[Reason]:
    """What made one row strange, the strongest first, at most ``most``.

    A feature is a reason when its part is positive, its value is known and the model does not take it as ``usual``.
    Where there is none such, the usual ones are given: a combination is strange whose parts are not.

    Args:
        contributions: parts of the score, shape (features,), as ``values`` and ``usual``.
        normal: each feature's name and training values.
        own_rate: the user's own usual events per minute, where it is known.
        alike: what is typical among users alike, by the feature's name.
    """
    order = [int(i) for i in np.argsort(-contributions, kind="stable") if contributions[i] > 0]
    known = [i for i in order if not math.isnan(values[i])]
    chosen = [i for i in known if not usual[i]] or known
    return [
        reason(normal[i][0], float(values[i]), float(contributions[i]), normal[i][1], own_rate, alike)
        for i in chosen[:most]
    ]


def reason(
    name: str,
    value: float,
    part: float,
    normal: FeatureReference,
    own_rate: float | None = None,
    alike: Alike | None = None,
) -> Reason:
    """One reason with its sentence."""
    direction = "high" if value >= normal.typical else "low"
    return {
        "feature": name,
        "value": value,
        "expected": normal.typical,
        "direction": direction,
        "contribution": part,
        "text": sentence(
            _FEATURE_OF.get(name) or _unknown(name), value, direction, normal, own_rate, alike(name) if alike else None
        ),
    }


def own_rate_of(row: Mapping[str, float]) -> float | None:
    """The user's own usual events per minute, from the minute's events and their ratio to it; None when not known."""
    ratio, events = row.get(OWN_RATIO, math.nan), row.get(OWN_EVENTS, math.nan)
    usual = events / ratio if ratio and math.isfinite(ratio) and math.isfinite(events) else math.nan
    return usual if usual > 0 else None


def sentence(
    feature: Feature,
    value: float,
    direction: str,
    normal: FeatureReference,
    own_rate: float | None = None,
    cohort: tuple[str, float] | None = None,
) -> str:
    """Value, what it means when it is beyond nearly everybody's, what is usual, for how many, and among users alike.

    ``cohort`` names users alike and their typical value; it is said where it is another one than everybody's.
    """
    level, bound = _beyond(value, direction, normal)
    meaning = f": {feature.high if direction == 'high' else feature.low}" if level >= COMPARISONS[1] else ""
    text = f"{amount(value, feature.unit)} {feature.noun}{meaning}; usually {amount(normal.typical, feature.unit)}"
    if level:
        side = "under" if direction == "high" else "over"
        text += f", and {side} {amount(bound, feature.unit)} for {amount(level, '')} % of all"
    if cohort is not None and amount(cohort[1], feature.unit) != amount(normal.typical, feature.unit):
        text += f"; usually {amount(cohort[1], feature.unit)} for {cohort[0]}"
    if own_rate is not None and (feature.unit == RATE or feature.name == OWN_RATIO):
        text += f"; usually {amount(own_rate, RATE)} events per minute for this user"
    return text


def amount(value: float, unit: str) -> str:
    """A number as people write it: 212, 1,204, 3.2, 0.04, 96 % for shares, "over a billion" for the absurd."""
    if unit == SHARE:
        return f"{amount(100.0 * value, '')} %"
    if abs(value) >= 1e9:
        return "over a billion" if value > 0 else "under minus a billion"
    if value == round(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}".removesuffix(".0")
    digits = 1 if abs(value) >= 1 else min(4, 1 - math.floor(math.log10(abs(value))))
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _beyond(value: float, direction: str, normal: FeatureReference) -> tuple[float, float]:
    """The greatest compared share of training rows the value lies outside of, and its bound; 0 when there is none."""
    for level in COMPARISONS:
        bound = normal.quantile(level if direction == "high" else 100.0 - level)
        outside = value > bound if direction == "high" else value < bound
        if outside and amount(bound, "") != amount(value, ""):
            return level, bound
    return 0.0, math.nan


def _unknown(name: str) -> Feature:
    """A feature that this version does not know, in the words of its name."""
    words = name.replace("_", " ")
    return Feature(name=name, meaning=words, unit="", noun=words, low="low", high="high")
