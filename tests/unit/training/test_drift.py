from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from scoring.champion import LoadedModel
from scoring.thresholds import LEVELS
from tests.unit.training.samples import SMALL, feature_rows, small_champion
from training.drift import FLAG_RATE, SCORE, Drift, Limits, Report, check, distance, psi, shift
from training.model import fit
from training.summary import describe

EVEN = LEVELS / 100
"""Quantiles of numbers spread evenly over 0 to 1."""


def of(report: Report, subject: str) -> Drift:
    return next(found for found in report.findings if found.subject == subject)


def many(count: int = 3000, seed: int = 1) -> LoadedModel:
    """A champion that learned from so many users of one row each."""
    rows = feature_rows(count, seed).assign(user_id=range(count))
    model = fit(rows, "default", SMALL)
    return LoadedModel.of("model", "1", model, describe(model, rows, 2.0, 0.05))


def test_other_rows_of_the_same_behaviour_have_not_drifted() -> None:
    rows = feature_rows(2000, seed=8).assign(user_id=range(2000))
    report = check(many(), rows)
    assert [found.subject for found in report.findings if found.drifted] == []
    assert report.retrain is False
    assert report.line().startswith("retrain: no because scores and flag rate are as expected and 0 of ")


def test_a_feature_that_moved_is_found_and_the_others_are_not() -> None:
    rows = feature_rows(2000, seed=8).assign(user_id=range(2000))
    rows["clicks_per_minute"] *= 4.0
    report = check(many(), rows)
    assert [found.subject for found in report.findings if found.drifted][:1] == ["clicks_per_minute"]
    assert not of(report, "repeat_ratio").drifted
    moved = of(report, "clicks_per_minute")
    assert moved.psi is not None
    assert moved.psi > 0.25
    assert moved.found > 3 * moved.expected


def test_behaviour_that_is_another_one_asks_for_a_retrain_and_says_why() -> None:
    rows = feature_rows(2000, seed=8).assign(user_id=range(2000))
    for name in ("clicks_per_minute", "events_per_minute", "pages_per_session", "gap_mean_seconds", "session_minutes"):
        rows[name] = rows[name] * 30.0
    report = check(many(), rows)
    assert report.retrain is True
    assert of(report, SCORE).drifted
    assert of(report, FLAG_RATE).drifted
    assert report.line().startswith("retrain: yes because scores have drifted")


def test_values_that_are_no_longer_known_are_drift() -> None:
    rows = feature_rows(2000, seed=8).assign(user_id=range(2000), own_rate_ratio=np.nan)
    assert of(check(many(), rows), "own_rate_ratio").drifted


def test_few_people_prove_nothing_however_many_their_rows_are() -> None:
    """The same shift: of 2,000 users it is drift, of 5 users it may be chance."""
    rows = feature_rows(2000, seed=8)
    rows["clicks_per_minute"] *= 1.9
    assert of(check(many(), rows.assign(user_id=range(2000))), "clicks_per_minute").drifted
    assert not of(check(many(), rows.assign(user_id=np.arange(2000) % 5)), "clicks_per_minute").drifted


def test_too_few_rows_tell_nothing() -> None:
    report = check(small_champion(), feature_rows(50))
    assert report.retrain is None
    assert report.line() == "retrain: no because 50 rows can be judged and 200 are needed"


def test_a_threshold_that_was_lowered_is_no_drift_of_the_flag_rate() -> None:
    champion = many()
    lowered = replace(champion, threshold=champion.reference.row_scores.quantiles[800])
    found = of(check(lowered, feature_rows(2000, seed=8).assign(user_id=range(2000))), FLAG_RATE)
    assert found.expected == pytest.approx(0.2, abs=0.02)
    assert not found.drifted


def test_the_limits_are_those_that_are_given() -> None:
    rows = feature_rows(2000, seed=8).assign(user_id=range(2000))
    rows["clicks_per_minute"] *= 4.0
    generous = Limits(max_psi=50.0, max_distance=1.0)
    assert not of(check(many(), rows, generous), "clicks_per_minute").drifted
    assert check(many(), rows, Limits(max_drifted_share=0.01)).retrain is True


def test_psi_of_equal_shares_is_0_and_grows_with_the_difference() -> None:
    half = np.array([0.5, 0.5])
    assert psi(half, half) == 0.0
    assert psi(half, np.array([0.8, 0.2])) == pytest.approx(0.3 * np.log(1.6) - 0.3 * np.log(0.4))
    assert np.isfinite(psi(half, np.array([1.0, 0.0])))


def test_distances_of_a_shifted_even_distribution_are_the_shift() -> None:
    values, weights = np.linspace(0.25, 1.25, 4001), np.ones(4001)
    assert distance(LEVELS, EVEN, values, weights) == pytest.approx(0.25, abs=0.01)
    assert shift(LEVELS, EVEN, values, weights) * 0.9 == pytest.approx(0.25, abs=0.01)


def test_weights_say_how_many_rows_a_row_stands_for() -> None:
    values, weights = np.array([0.1, 0.9]), np.array([1.0, 3.0])
    repeated = np.array([0.1, 0.9, 0.9, 0.9])
    assert distance(LEVELS, EVEN, values, weights) == distance(LEVELS, EVEN, repeated, np.ones(4))


def test_a_reference_with_jumps_is_no_distance_from_itself() -> None:
    jumps = np.repeat([0.0, 1.0], [len(LEVELS) // 2, len(LEVELS) - len(LEVELS) // 2])
    share = LEVELS[len(LEVELS) // 2] / 100
    values = np.repeat([0.0, 1.0], [round(1000 * share), round(1000 * (1 - share))])
    assert distance(LEVELS, jumps, values, np.ones(len(values))) < 0.01


def test_one_bot_with_many_rows_is_an_alert_and_no_drift_of_the_flag_rate() -> None:
    rows = feature_rows(2000, seed=8).assign(user_id=range(2000))
    flood = feature_rows(600, seed=9).assign(
        clicks_per_minute=900.0, events_per_minute=900.0, pages_per_session=900.0, active_seconds=60.0,
        view_share=0.0, gap_mean_seconds=1.0, gap_variation=0.0, gap_equal_share=1.0,
    )  # fmt: skip
    champion = many()
    of_one = check(champion, pd.concat([rows, flood.assign(user_id=-1)], ignore_index=True))
    of_all = check(champion, pd.concat([rows, flood.assign(user_id=range(5000, 5600))], ignore_index=True))
    assert of(of_one, FLAG_RATE).found == of(of_all, FLAG_RATE).found > 3 * of(of_one, FLAG_RATE).expected
    assert (of(of_one, FLAG_RATE).drifted, of(of_all, FLAG_RATE).drifted) == (False, True)
