"""A mixture of Dirichlet-multinomials: its likelihood, its climb, and planted groups found again."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.stats import dirichlet_multinomial, norm
from sklearn.metrics import adjusted_rand_score

from patterns import mixtures
from patterns.mixtures import Fit, Measured, fit, hellinger, learn
from patterns.segments import Floats, Ints

ACTS = 12


def without_traits(counts: Floats) -> Measured:
    return Measured(csr_array(counts), np.zeros((len(counts), 0)))


def planted(groups: int, each: int, seed: int, steadiness: float = 60.0) -> tuple[Floats, Ints]:
    """Counts of people of some groups, each of which does three acts mostly; how much each person does varies a lot."""
    rng = np.random.default_rng(seed)
    rows, truth = [], []
    for group in range(groups):
        centre = np.full(ACTS, 0.2)
        centre[[(3 * group + step) % ACTS for step in range(3)]] = (6.0, 4.0, 2.0)
        shares = rng.dirichlet(steadiness * centre / centre.sum(), each)
        rows += [rng.multinomial(int(total), own) for total, own in zip(rng.lognormal(3, 1, each) + 5, shares)]  # noqa: B905
        truth += [group] * each
    order = rng.permutation(len(rows))
    return np.array(rows, np.float64)[order], np.array(truth)[order]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 40), min_size=3, max_size=3), min_size=1, max_size=6),
    st.lists(st.lists(st.floats(0.01, 50), min_size=3, max_size=3), min_size=1, max_size=4),
)
def test_the_likelihood_is_that_of_the_definition_but_for_what_all_groups_share(
    counts: list[list[int]], dirichlets: list[list[float]]
) -> None:
    rows, groups = np.array(counts, np.float64), np.array(dirichlets)
    nothing = np.zeros((len(groups), 0))
    found = Fit(np.full(len(groups), 1.0), groups, nothing, nothing, 0.0).likelihoods(without_traits(rows))
    exact = np.array(
        [dirichlet_multinomial.logpmf(rows.astype(int), one, rows.sum(axis=1).astype(int)) for one in groups]
    )
    np.testing.assert_allclose(found - found[:, :1], (exact.T - exact.T[:, :1]), atol=1e-6)


def test_a_trait_that_is_unknown_says_nothing_and_a_known_one_is_normal() -> None:
    traits = np.array([[0.5, np.nan], [np.nan, np.nan], [1.0, -2.0]])
    means, spreads = np.array([[0.0, 1.0], [2.0, -1.0]]), np.array([[1.0, 0.5], [0.3, 2.0]])
    flat = np.ones((2, 3))
    found = Fit(np.ones(2), flat, means, spreads, 0.0).likelihoods(Measured(csr_array(np.ones((3, 3))), traits))
    alone = Fit(np.ones(2), flat, means[:, :0], spreads[:, :0], 0.0).likelihoods(without_traits(np.ones((3, 3))))
    exact = np.where(np.isnan(traits[:, None, :]), 0.0, norm.logpdf(traits[:, None, :], means, spreads)).sum(axis=2)
    constant = 0.5 * np.log(2 * np.pi) * (~np.isnan(traits)).sum(axis=1)
    np.testing.assert_allclose(found - alone, exact + constant[:, None])


def test_each_round_explains_the_rows_better(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = without_traits(planted(3, 60, 1)[0])
    monkeypatch.setattr(mixtures, "GAIN", -1.0)  # every round is made
    climb = mixtures.Climb(rows, mixtures.begun(rows, 3, 5))
    evidence = [climb.go(1).evidence for _ in range(30)]
    assert all(later >= earlier - 1e-6 * abs(earlier) for earlier, later in pairwise(evidence))


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("groups", [2, 4])
def test_planted_groups_are_found_again_whatever_the_seed(groups: int, seed: int) -> None:
    counts, truth = planted(groups, 80, seed)
    rows = without_traits(counts)
    found, number = learn(rows, 6, seed)
    assert len(found.shares) == number.groups == groups
    assert number.stability >= 0.8
    assert adjusted_rand_score(truth, found.labels(rows)) >= 0.9


def test_one_crowd_is_one_group_however_much_its_people_differ() -> None:
    for steadiness in (200.0, 5.0):
        found, _ = learn(without_traits(planted(1, 300, 4, steadiness)[0]), 6, 17)
        assert len(found.shares) == 1


def test_a_crawler_with_a_million_events_moves_nobody() -> None:
    counts, truth = planted(3, 80, 2)
    crawler = np.zeros((1, ACTS))
    crawler[0, :2] = 500_000
    with_it = without_traits(np.concatenate([counts, crawler]))
    labels = learn(with_it, 6, 17)[0].labels(with_it)[:-1]
    assert adjusted_rand_score(truth, labels) >= 0.9


def test_groups_that_do_the_same_are_told_apart_by_a_trait() -> None:
    counts, _ = planted(1, 200, 3)
    truth = np.arange(200) % 2
    rng = np.random.default_rng(5)
    traits = np.column_stack([np.where(truth == 1, 2.0, -0.5) + 0.2 * rng.standard_normal(200)])
    rows = Measured(csr_array(counts), traits)
    found, _ = learn(rows, 5, 17)
    assert adjusted_rand_score(truth, found.labels(rows)) >= 0.95


def test_the_same_rows_and_seed_give_the_same_groups() -> None:
    rows = without_traits(planted(3, 50, 6)[0])
    one, other = fit(rows, 3, 17), fit(rows, 3, 17)
    np.testing.assert_array_equal(one.dirichlets, other.dirichlets)


def test_rows_that_did_nothing_and_acts_that_nobody_did_do_no_harm() -> None:
    counts = np.concatenate([planted(2, 40, 7)[0], np.zeros((3, ACTS))])
    rows = without_traits(np.column_stack([counts, np.zeros(len(counts))]))
    found, _ = learn(rows, 4, 17)
    assert np.isfinite(found.likelihoods(rows)).all()


def test_hellingers_distance_is_0_of_the_same_and_1_of_what_has_nothing_in_common() -> None:
    shares = np.array([[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]])
    np.testing.assert_allclose(hellinger(shares, shares), [[0, 1], [1, 0]])
