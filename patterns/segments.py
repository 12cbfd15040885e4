"""Groups that behave alike: k-means on traits, their number chosen by a measure, their ids kept from day to day.

Values are compared on a log scale (shares as they are), each in units of its standard deviation among the rows learned
from; a trait that is unknown for a row counts as the median. Who did a single thing cannot be compared with anybody:
they are a group of their own, by rule.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, silhouette_score
from threadpoolctl import threadpool_limits

from patterns.traits import TRAITS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MIN_SEGMENTS = 2
MAX_MEASURED = 2000
"""Rows that the silhouette is measured on: it compares every row with every other."""
SEEDS = 4
STARTS = 3
PART = 0.8
"""Each fit of the measure of stability sees so much of the rows, another part each."""
STABLE = 0.8
"""Mean adjusted Rand index between such fits from which a number of segments is stable."""
NO_STRUCTURE = 0.25
"""A silhouette below this: the rows form one cloud, and cutting it would invent groups (Kaufman and Rousseeuw)."""
AS_GOOD = 0.02
"""Silhouettes that differ by less are equal: then more segments tell more. The number of the day before may be
worse by twice as much before it is given up for a smaller one."""
MIN_SHARE = 0.01
MIN_MEMBERS = 5
TAIL = 0.005
"""Share of rows at either end of a trait that do not widen its standard deviation."""
FARTHEST = 4.0
"""Standard deviations beyond which a value is no stranger still."""
MIN_DEVIATION = {True: 0.3, False: 0.25}
"""By whether a trait is logarithmic: smaller differences are none to a person."""

GLANCE = -1
"""Label of rows with a single event."""


@dataclass(frozen=True)
class Quality:
    """How good a number of segments is: mean silhouette (-1 to 1) and mean adjusted Rand index between fits."""

    segments: int
    silhouette: float
    stability: float


@dataclass(frozen=True)
class Clustering:
    """What was learned. Arrays are in the order of :data:`patterns.traits.TRAITS` of ``unit``.

    ``centres`` (segments, traits) are on the scale of :func:`comparable`, as are ``fill`` (used where a value is
    unknown) and ``scale`` (one standard deviation; infinite: the trait is not looked at).
    """

    unit: str
    centres: Floats
    fill: Floats
    scale: Floats
    quality: Quality
    tried: tuple[Quality, ...]

    def assign(self, values: Floats) -> tuple[Ints, Floats]:
        """Segment number (or :data:`GLANCE`) and distance from its centre, for rows of traits (rows, traits)."""
        if not len(values):
            return np.zeros(0, np.int64), np.zeros(0)
        distances = cdist(self._standard(values), self.centres / self.scale)
        labels = distances.argmin(axis=1).astype(np.int64)
        nearest = distances[np.arange(len(values)), labels]
        glance = is_glance(self.unit, values)
        return np.where(glance, GLANCE, labels), np.where(glance, 0.0, nearest)

    def _standard(self, values: Floats) -> Floats:
        return standard(comparable(self.unit, values), self.fill, self.scale)

    def matched(self, known: Mapping[str, Sequence[float]], values: Floats) -> list[str | None]:
        """For each segment the id of the ``known`` centre that it continues, or None where it is new.

        Centres are paired so that the sum of distances is smallest. A pair farther apart than the segment is wide
        (the mean distance of its members in ``values``) is none.
        """
        ids = [name for name, centre in known.items() if len(centre) == self.centres.shape[1]]
        if not ids:
            return [None] * len(self.centres)
        before = np.array([known[name] for name in ids]) / self.scale
        distances = cdist(self.centres / self.scale, before)
        labels, own = self.assign(values)
        continued: list[str | None] = [None] * len(self.centres)
        for segment, place in zip(*linear_sum_assignment(distances), strict=True):
            members = own[labels == segment]
            width = float(members.mean()) if len(members) else 0.0
            if distances[segment, place] <= max(width, 0.25):
                continued[segment] = ids[place]
        return continued


def comparable(unit: str, values: Floats) -> Floats:
    """Values on the scale they are compared on: ``log(1 + value)`` for logarithmic traits."""
    logarithmic = np.array([trait.logarithmic for trait in TRAITS[unit]])
    return np.where(logarithmic, np.log1p(np.clip(values, 0.0, None)), np.clip(values, -1e6, 1e6))


def standard(compared: Floats, fill: Floats, scale: Floats) -> Floats:
    """In standard deviations from 0, unknown values as ``fill``, none farther than :data:`FARTHEST` from ``fill``."""
    known = np.where(np.isnan(compared), fill, compared)
    return fill / scale + np.clip((known - fill) / scale, -FARTHEST, FARTHEST)


def is_glance(unit: str, values: Floats) -> NDArray[np.bool_]:
    """Whether a row has a single event."""
    events = [trait.name for trait in TRAITS[unit]].index("events")
    return np.asarray(values[:, events] <= 1)


def learn(unit: str, values: Floats, known: Mapping[str, Sequence[float]], most: int, seed: int) -> Clustering | None:
    """Learn at most ``most`` segments from rows of traits (rows, traits); None when all rows are glances.

    ``known`` are centres of an earlier day: where they fit as well as any others, the new ones start from them.
    """
    seen = values[~is_glance(unit, values)] if len(values) else values
    if not len(seen):
        return None
    compared = comparable(unit, seen)
    fill, scale = scales(unit, compared)
    rows = standard(compared, fill, scale)
    before = [centre for centre in known.values() if len(centre) == rows.shape[1]]
    with threadpool_limits(1):  # fits take milliseconds; threads that wait for each other take longer
        tried = [_measured(rows, number, seed) for number in range(MIN_SEGMENTS, most + 1) if len(rows) >= 10 * number]
        quality = _chosen(tried, len(before))
        labels, centres = _fitted(rows, quality.segments, seed, np.array(before) / scale if before else None)
    filled = np.where(np.isnan(compared), fill, compared)
    means = np.array([filled[labels == segment].mean(axis=0) for segment in range(len(centres))])
    in_use = np.isfinite(scale)
    centres = np.where(in_use, centres * np.where(in_use, scale, 1.0), means)
    return Clustering(unit, centres, fill, scale, quality, tuple(tried))


def new_id(unit: str, day: str, place: int) -> str:
    """An id for a segment first seen on ``day``: short, and the same when the day is mined again."""
    return f"{unit}-{hashlib.sha256(f'{unit} {day} {place}'.encode()).hexdigest()[:8]}"


def scales(unit: str, compared: Floats) -> tuple[Floats, Floats]:
    """Median and standard deviation of each trait; infinite where it does not vary or follows from others."""
    known = ~np.isnan(compared).all(axis=0)
    fill, spread = np.zeros(compared.shape[1]), np.zeros(compared.shape[1])
    fill[known] = np.nanmedian(compared[:, known], axis=0)
    low, high = np.nanquantile(compared[:, known], (TAIL, 1.0 - TAIL), axis=0)
    spread[known] = np.nanstd(np.clip(compared[:, known], low, high), axis=0)
    least = np.array([MIN_DEVIATION[trait.logarithmic] for trait in TRAITS[unit]])
    looked_at = np.array([trait.clusters for trait in TRAITS[unit]]) & (spread > 1e-9)
    return fill, np.where(looked_at, np.maximum(spread, least), np.inf)


def _measured(rows: Floats, number: int, seed: int) -> Quality:
    rng = np.random.default_rng([seed, number])
    shown = rng.choice(len(rows), min(len(rows), MAX_MEASURED), replace=False)
    labels = []
    for fit in range(SEEDS):
        part = rng.choice(len(rows), max(number, int(PART * len(rows))), replace=False)
        model = KMeans(number, n_init=STARTS, random_state=seed + fit).fit(rows[part])
        labels.append(model.predict(rows))
    pairs = [adjusted_rand_score(a, b) for i, a in enumerate(labels) for b in labels[:i]]
    counts = np.bincount(labels[0], minlength=number)
    if counts.min() < max(MIN_MEMBERS, MIN_SHARE * len(rows)):
        return Quality(number, -1.0, float(np.mean(pairs)))
    several = len(set(labels[0][shown])) > 1
    width = float(silhouette_score(rows[shown], labels[0][shown])) if several else -1.0
    return Quality(number, width, float(np.mean(pairs)))


def _chosen(tried: Sequence[Quality], before: int) -> Quality:
    stable = [each for each in tried if each.stability >= STABLE and each.silhouette >= NO_STRUCTURE]
    if not stable:
        return Quality(1, math.nan, math.nan)
    best = max(each.silhouette for each in stable)
    patience = {before: 2 * AS_GOOD}
    return [each for each in stable if each.silhouette >= best - patience.get(each.segments, AS_GOOD)][-1]


def _fitted(rows: Floats, number: int, seed: int, before: Floats | None) -> tuple[Ints, Floats]:
    model = KMeans(number, n_init=10, random_state=seed).fit(rows)
    if before is not None and len(before) == number:
        on = KMeans(number, init=before, n_init=1).fit(rows)
        if on.inertia_ <= 1.02 * model.inertia_:
            model = on
    return np.asarray(model.labels_, np.int64), np.asarray(model.cluster_centers_, np.float64)
