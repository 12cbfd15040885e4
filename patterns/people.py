"""Kinds of people: users told apart by what they do, and beside it by how often, when, how long and how fast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array

from patterns.acts import Act, Told, acts_told, by_part, on
from patterns.mixtures import Fit, Measured, Number, hellinger, learn, shares_of
from patterns.segments import GLANCE, Floats, Ints, comparable, is_glance, scales, standard
from patterns.traits import TRAITS

UNIT = "user"
BESIDE = ("sessions", "pause_seconds", "variation", "night_share")
"""Traits that are told apart by, beside acts: rhythm and return. The others follow from these and from what is done, or
say how much of the same is done."""
APART = 0.5
"""An old kind goes on as one that is nearer to it than so much of the way to the next one of today."""
ALONE = 0.35
"""... and no farther than this where there is no other."""
MOTLEY, MOTLIER = 0.45, 1.5
"""Members that are on average so far (Hellinger) from what their kind does, and so much farther than those of all
kinds, have little in common."""


@dataclass(frozen=True)
class Centre:
    """What a kind does and how: shares of acts, and means of traits (on the scale of
    :func:`patterns.segments.comparable`, in the order of the unit's traits)."""

    acts: Mapping[Act, float]
    traits: Sequence[float]


@dataclass(frozen=True)
class People:
    """Kinds as learned.

    Attributes:
        acts: the vocabulary.
        habits: mean shares of acts of each kind's members, and of all; (kinds, acts) and (acts,).
        overall: see ``habits``.
        centres: mean traits of members; (kinds, traits).
        scatter: mean distance of members from what their kind does, 0 to 1; (kinds,).
        fill, scale: as of :class:`patterns.segments.Clustering`.
    """

    acts: tuple[Act, ...]
    fitted: Fit
    habits: Floats
    overall: Floats
    centres: Floats
    scatter: Floats
    fill: Floats
    scale: Floats
    number: Number

    @property
    def stability(self) -> float | None:
        """Mean adjusted Rand index between fits on parts; None for a single kind."""
        return None if len(self) == 1 else self.number.stability

    def __len__(self) -> int:
        return len(self.habits)

    def assign(self, values: Floats, counts: csr_array) -> tuple[Ints, Floats]:
        """Kind (or :data:`patterns.segments.GLANCE`) of rows, and distance (Hellinger) from what it does."""
        if not len(values):
            return np.zeros(0, np.int64), np.zeros(0)
        labels = self.fitted.labels(Measured(counts, _beside(values, self.fill, self.scale)))
        distances = _from_habits(counts, self.habits, labels)
        glance = is_glance(UNIT, values)
        return np.where(glance, GLANCE, labels), np.where(glance, 0.0, distances)

    def acts_told(self, kind: int) -> list[Told]:
        """What tells a kind from all, act by act, the most telling first."""
        return acts_told(self.acts, self.habits[kind], self.overall)

    def told(self, kind: int, part: int) -> list[Told]:
        """What tells a kind from all, by action (``part`` 0) or kind of page (1), the most telling first."""
        return by_part(self.acts, self.habits[kind], self.overall, part)

    def is_motley(self, kind: int) -> bool:
        """Whether its members have little in common."""
        others = np.delete(self.scatter, kind)
        return bool(len(others) and self.scatter[kind] >= max(MOTLEY, MOTLIER * float(others.mean())))

    def matched(self, known: Mapping[str, Centre]) -> list[str | None]:
        """For each kind the id of the ``known`` one that it continues, or None where it is new."""
        ids = [name for name, centre in known.items() if centre.acts and len(centre.traits) == self.centres.shape[1]]
        found: list[str | None] = [None] * len(self)
        if not ids:
            return found
        before = np.array([on(self.acts, known[name].acts) for name in ids])
        traits = np.array([known[name].traits for name in ids])
        distances = self._distances(self.habits, self.centres, before, traits)
        between = self._distances(self.habits, self.centres, self.habits, self.centres)
        np.fill_diagonal(between, np.inf)
        reach = np.minimum(ALONE, APART * between.min(axis=1)) if len(self) > 1 else np.array([ALONE])
        for kind, place in zip(*linear_sum_assignment(distances), strict=True):
            if distances[kind, place] <= reach[kind]:
                found[kind] = ids[place]
        return found

    def _distances(self, acts: Floats, traits: Floats, other_acts: Floats, other_traits: Floats) -> Floats:
        """Of each of the first from each of the others: Hellinger's of acts, and of traits half that of normal
        distributions one standard deviation wide."""
        apart = np.array([trait.name in BESIDE for trait in TRAITS[UNIT]]) & np.isfinite(self.scale)
        one, other = (each[:, apart] / self.scale[apart] for each in (traits, other_traits))
        squares = ((one[:, None, :] - other[None, :, :]) ** 2).sum(axis=2)
        of_traits = 1.0 - np.exp(-squares / 8.0)
        return np.asarray(np.sqrt(hellinger(acts, other_acts) ** 2 + 0.25 * of_traits))


def learn_people(values: Floats, counts: csr_array, acts: tuple[Act, ...], most: int, seed: int) -> People | None:
    """Learn at most ``most`` kinds from rows of traits and of counts of acts; None where all did a single thing."""
    several = np.flatnonzero(~is_glance(UNIT, values)) if len(values) else np.zeros(0, np.int64)
    if not len(several):
        return None
    values, counts = values[several], counts[several]
    compared = comparable(UNIT, values)
    fill, scale = scales(UNIT, compared)
    rows = Measured(counts, _beside(values, fill, scale))
    fitted, number = learn(rows, most, seed)
    labels = fitted.labels(rows)
    shares = shares_of(counts)
    kinds = range(len(fitted.shares))
    filled = np.where(np.isnan(compared), fill, compared)
    habits = np.array([_mean(shares, labels == kind, fitted.dirichlets[kind]) for kind in kinds])
    away = _from_habits(counts, habits, labels)
    return People(
        acts,
        fitted,
        habits,
        np.asarray(shares.mean(axis=0)).ravel(),
        np.array([filled[labels == kind].mean(axis=0) if (labels == kind).any() else fill for kind in kinds]),
        np.array([away[labels == kind].mean() if (labels == kind).any() else 0.0 for kind in kinds]),
        fill,
        scale,
        number,
    )


def _beside(values: Floats, fill: Floats, scale: Floats) -> Floats:
    """Traits that count, in standard deviations from the median; NaN where one is unknown."""
    traits = TRAITS[UNIT]
    chosen = [place for place, trait in enumerate(traits) if trait.name in BESIDE and np.isfinite(scale[place])]
    compared = comparable(UNIT, values)
    known = standard(compared, fill, scale)[:, chosen] - (fill / scale)[chosen]
    return np.asarray(np.where(np.isnan(compared[:, chosen]), np.nan, known))


def _mean(shares: csr_array, members: np.ndarray[tuple[int], np.dtype[np.bool_]], dirichlet: Floats) -> Floats:
    if not members.any():
        return np.asarray(dirichlet / dirichlet.sum())
    return np.asarray(shares[np.flatnonzero(members)].mean(axis=0)).ravel()


def _from_habits(counts: csr_array, habits: Floats, labels: Ints) -> Floats:
    """Hellinger's distance of each row's shares from the habits of its kind."""
    roots = shares_of(counts).sqrt()
    common = np.asarray(roots.multiply(np.sqrt(habits)[labels]).sum(axis=1)).ravel()
    return np.asarray(np.sqrt(np.clip(1.0 - common, 0.0, 1.0)))
