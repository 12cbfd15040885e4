"""Groups of people who do the same: a mixture of Dirichlet-multinomials over what they do, with traits beside it.

Each group has a Dirichlet distribution over acts; a person of the group draws shares of acts from it, and does with
these shares as much as the person does. Unlike a plain multinomial it knows that people of one group differ and that
each goes on with what the person has begun, so that a thousand events of one crawler do not weigh as those of a
thousand people (Holmes, Harris and Quince, "Dirichlet multinomial mixtures", PLoS ONE 7(2), 2012). Traits (how fast,
how often, how long) are normal within a group, on the scale of :func:`patterns.segments.comparable`, and independent.

Fitted by expectation and maximisation; the Dirichlets go up by fixed-point steps (Minka, "Estimating a Dirichlet
distribution", 2000).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.special import digamma, gammaln, logsumexp
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from threadpoolctl import threadpool_limits

from patterns.segments import MAX_MEASURED, MIN_MEMBERS, MIN_SEGMENTS, MIN_SHARE, PART, SEEDS, STABLE, Floats, Ints

STARTS, FIRST_STEPS = 5, 20
"""So many starts make so many rounds, and the best of them goes on (Biernacki, Celeux and Govaert, 2003)."""
STEPS = 200
"""Rounds of expectation and maximisation at most; a fit ends when a round gains less than ..."""
GAIN = 2e-6
"""... this part of the logarithm of the likelihood."""
RISES = 2
"""Fixed-point steps a round."""
LEAST, MOST = 1e-3, 1e5
"""Bounds of a Dirichlet's parameters: nothing is impossible, and nobody is quite like the group."""
PRIOR = 5.0
"""Rows of spread 1 that a group's traits are thought to have beside its own: a small group is not a point."""
BESIDE = 0.25
"""What a standard deviation of a trait counts for at the start, where having no act in common counts 1.4."""
LEAST_SPREAD = 0.25
"""Least standard deviation of a trait within a group, in those of all."""


@dataclass(frozen=True)
class Measured:
    """What is told apart.

    Attributes:
        acts: how often each row did each act; (rows, acts).
        traits: in standard deviations of all, NaN where unknown; (rows, traits).
    """

    acts: csr_array
    traits: Floats

    def __len__(self) -> int:
        return int(self.acts.shape[0])

    @cached_property
    def tally(self) -> Tally:
        """The acts as likelihoods are worked out of them."""
        return Tally(self.acts)

    def part(self, rows: Ints) -> Measured:
        """These rows."""
        return Measured(self.acts[rows], self.traits[rows])


@dataclass(frozen=True)
class Fit:
    """Parameters of a mixture.

    Attributes:
        shares: of the groups; (groups,).
        dirichlets: their parameters; (groups, acts).
        means, spreads: of the traits; (groups, traits).
        evidence: logarithm of the likelihood of the rows fitted to.
    """

    shares: Floats
    dirichlets: Floats
    means: Floats
    spreads: Floats
    evidence: float

    @property
    def parameters(self) -> int:
        """How many numbers were fitted."""
        return len(self.shares) - 1 + self.dirichlets.size + self.means.size + self.spreads.size

    def likelihoods(self, rows: Measured) -> Floats:
        """Logarithm of share and likelihood by group, but for what is the same for all; (rows, groups)."""
        of_acts = rows.tally.likelihoods(self.dirichlets) + np.log(self.shares)
        return np.asarray(of_acts + _normal(rows.traits, self.means, self.spreads))

    def belongs(self, rows: Measured) -> Floats:
        """How probably each row is of each group; (rows, groups)."""
        likelihoods = self.likelihoods(rows)
        return np.asarray(np.exp(likelihoods - logsumexp(likelihoods, axis=1)[:, None]))

    def labels(self, rows: Measured) -> Ints:
        """The likeliest group of each row."""
        return np.asarray(self.likelihoods(rows).argmax(axis=1), np.int64)


@dataclass(frozen=True)
class Number:
    """How good a number of groups is.

    Attributes:
        criterion: Bayes' information criterion; less is better.
        stability: mean adjusted Rand index between fits on parts of the rows.
        smallest: share of the smallest group.
    """

    groups: int
    criterion: float
    stability: float
    smallest: float


class Tally:
    """Counts as the pairs (act, how often) that occur: they are few, and each is worked out once."""

    def __init__(self, acts: csr_array) -> None:
        entries = acts.tocoo()
        times = entries.data.astype(np.int64)
        highest = int(times.max(initial=0)) + 1
        pairs, of_entry = np.unique(entries.col.astype(np.int64) * highest + times, return_inverse=True)
        self.act, self.times = pairs // highest, (pairs % highest).astype(np.float64)
        self.has = _ones(entries.row, of_entry, (acts.shape[0], len(pairs)))
        self.of_act = _ones(self.act, np.arange(len(pairs)), (acts.shape[1], len(pairs)))
        totals, of_row = np.unique(np.asarray(acts.sum(axis=1)).ravel(), return_inverse=True)
        self.totals = totals.astype(np.float64)
        self.has_total = _ones(np.arange(acts.shape[0]), of_row, (acts.shape[0], len(totals)))

    def likelihoods(self, dirichlets: Floats) -> Floats:
        """Logarithm of the Dirichlet-multinomial, without the multinomial coefficient; (rows, groups)."""
        whole = dirichlets.sum(axis=1)
        own = dirichlets.T[self.act]
        of_pairs = gammaln(self.times[:, None] + own) - gammaln(own)
        of_totals = gammaln(whole) - gammaln(self.totals[:, None] + whole)
        return np.asarray(self.has @ of_pairs + self.has_total @ of_totals)

    def risen(self, dirichlets: Floats, belongs: Floats) -> Floats:
        """Dirichlets that explain the rows better; ``belongs`` is how much each row is of each group."""
        of_pairs, of_totals = self.has.T @ belongs, self.has_total.T @ belongs
        for _ in range(RISES):
            whole, own = dirichlets.sum(axis=1), dirichlets.T[self.act]
            above = self.of_act @ (of_pairs * (digamma(self.times[:, None] + own) - digamma(own)))
            below = (of_totals * (digamma(self.totals[:, None] + whole) - digamma(whole))).sum(axis=0)
            dirichlets = np.clip(dirichlets * above.T / np.maximum(below, 1e-12)[:, None], LEAST, MOST)
        return dirichlets


def _ones(rows: NDArray[np.integer], columns: NDArray[np.integer], shape: tuple[int, int]) -> csr_array:
    return csr_array((np.ones(len(rows)), (rows, columns)), shape=shape)


def _normal(traits: Floats, means: Floats, spreads: Floats) -> Floats:
    """Logarithm of the traits' likelihood; an unknown one says nothing; (rows, groups)."""
    total = np.zeros((len(traits), len(means)))
    for trait in range(traits.shape[1]):
        value = traits[:, trait, None]
        each = -0.5 * ((value - means[:, trait]) / spreads[:, trait]) ** 2 - np.log(spreads[:, trait])
        total += np.where(np.isnan(value), 0.0, each)
    return total


def _moments(traits: Floats, belongs: Floats) -> tuple[Floats, Floats]:
    """Means and spreads of the traits by group, drawn to those of all (0 and 1) as if by :data:`PRIOR` rows."""
    known = ~np.isnan(traits)
    values = np.where(known, traits, 0.0)
    weight = belongs.T @ known + PRIOR
    means = belongs.T @ values / weight
    squares = belongs.T @ values**2 + PRIOR
    return means, np.sqrt(np.maximum(squares / weight - means**2, LEAST_SPREAD**2))


def begun(rows: Measured, groups: int, seed: int) -> Floats:
    """How much each row is of each group at first: by k-means of shares (Hellinger's distance) and traits."""
    places = np.column_stack([shares_of(rows.acts).sqrt().toarray(), BESIDE * np.nan_to_num(rows.traits)])
    found = KMeans(groups, n_init=1, random_state=seed).fit(places, sample_weight=np.sqrt(_totals(rows.acts)))
    return np.asarray(0.9 * np.eye(groups)[found.labels_] + 0.1 / groups)


def fit(rows: Measured, groups: int, seed: int) -> Fit:
    """The likeliest mixture of so many groups that is found."""
    climbs = [Climb(rows, begun(rows, groups, seed + at)) for at in range(1 if groups == 1 else STARTS)]
    if len(climbs) > 1:
        for climb in climbs:
            climb.go(FIRST_STEPS)
    best = max(climbs, key=lambda climb: climb.fit.evidence if climb.fit else -math.inf)
    return best.go(STEPS)


class Climb:
    """One way up: rounds of maximisation and expectation, from how much each row is of each group."""

    def __init__(self, rows: Measured, belongs: Floats) -> None:
        self.rows, self.belongs = rows, belongs
        acts = rows.acts.shape[1]
        mean = shares_of(rows.acts).T @ belongs + 1.0 / acts
        self.dirichlets = np.clip(acts * (mean / mean.sum(axis=0)).T, LEAST, MOST)
        self.fit: Fit | None = None

    def go(self, steps: int) -> Fit:
        """So many rounds more, or until they gain nothing."""
        before = -math.inf
        for _ in range(steps):
            self.dirichlets = self.rows.tally.risen(self.dirichlets, self.belongs)
            means, spreads = _moments(self.rows.traits, self.belongs)
            shares = (self.belongs.sum(axis=0) + 1.0) / (len(self.rows) + self.belongs.shape[1])
            fitted = Fit(shares, self.dirichlets, means, spreads, 0.0)
            likelihoods = fitted.likelihoods(self.rows)
            of_rows = logsumexp(likelihoods, axis=1)
            evidence = float(of_rows.sum())
            self.belongs = np.exp(likelihoods - of_rows[:, None])
            self.fit = replace(fitted, evidence=evidence)
            if evidence - before < GAIN * abs(evidence):
                break
            before = evidence
        assert self.fit is not None
        return self.fit


def learn(rows: Measured, most: int, seed: int) -> tuple[Fit, Number]:
    """Learn at most ``most`` groups; gives what is known of their number, too.

    It is the number with the best criterion among those that fits on different parts of the rows agree on
    (:data:`patterns.segments.STABLE`) and whose groups all have members enough; 1 where there is none.
    """
    with threadpool_limits(1):  # small products: threads that wait for each other take longer
        rng = np.random.default_rng(seed)
        shown = rows.part(np.sort(rng.choice(len(rows), min(len(rows), MAX_MEASURED), replace=False)))
        fits = [fit(shown, groups, seed) for groups in range(1, most + 1) if groups == 1 or len(rows) >= 10 * groups]
        best_first = sorted(fits, key=lambda each: _criterion(each, len(shown)))
        numbers = (_number(shown, fitted, seed) for fitted in best_first)
        fitted, number = next(pair for pair in zip(best_first, numbers, strict=True) if _is_good(pair[1], len(shown)))
        return Climb(rows, fitted.belongs(rows)).go(STEPS), number


def _is_good(number: Number, rows: int) -> bool:
    enough = number.smallest >= max(MIN_SHARE, MIN_MEMBERS / max(rows, 1))
    return number.groups < MIN_SEGMENTS or (number.stability >= STABLE and enough)


def _criterion(fitted: Fit, rows: int) -> float:
    return fitted.parameters * math.log(max(rows, 2)) - 2.0 * fitted.evidence


def _number(rows: Measured, fitted: Fit, seed: int) -> Number:
    groups, criterion = len(fitted.shares), _criterion(fitted, len(rows))
    if groups == 1:
        return Number(1, criterion, 1.0, 1.0)
    labels = [fitted.labels(rows)]
    rng = np.random.default_rng([seed, groups])
    for at in range(1, SEEDS):
        part = np.sort(rng.choice(len(rows), max(groups, int(PART * len(rows))), replace=False))
        labels.append(fit(rows.part(part), groups, seed + 100 * at).labels(rows))
    pairs = [adjusted_rand_score(one, other) for place, one in enumerate(labels) for other in labels[:place]]
    smallest = np.bincount(labels[0], minlength=groups).min() / len(rows)
    return Number(groups, criterion, float(np.mean(pairs)), float(smallest))


def hellinger(one: Floats, other: Floats) -> Floats:
    """Distance between shares, 0 (the same) to 1 (nothing in common): of each row of ``one`` from each of ``other``."""
    common = np.sqrt(one) @ np.sqrt(other).T
    return np.asarray(np.sqrt(np.clip(1.0 - common, 0.0, 1.0)))


def shares_of(counts: csr_array) -> csr_array:
    """Each row's counts as shares of what it did."""
    return csr_array(counts.multiply(1.0 / _totals(counts)[:, None]))


def _totals(counts: csr_array) -> Floats:
    """How much each row did, 1 at least."""
    return np.asarray(np.maximum(np.asarray(counts.sum(axis=1)).ravel(), 1.0))
