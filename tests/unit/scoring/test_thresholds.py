from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.errors import ConfigurationError
from scoring.thresholds import (
    LEVELS,
    Distribution,
    from_alerts_per_day,
    from_percentile,
    from_share,
    percentile,
    preview,
    preview_of_history,
    quantiles,
)

EVEN = Distribution(tuple(LEVELS / 100), per_day=1000.0)
"""Scores spread evenly over 0 to 1, a thousand a day."""


def test_levels_reach_from_0_to_100_and_are_fine_in_the_tail() -> None:
    assert (LEVELS[0], LEVELS[-1]) == (0.0, 100.0)
    assert {99.9, 99.91, 99.95, 99.99, 99.999} <= set(LEVELS.tolist())
    assert (np.diff(LEVELS) > 0).all()


def test_ten_alerts_a_day_of_a_thousand_is_the_99th_percentile() -> None:
    assert from_alerts_per_day(10, EVEN) == pytest.approx(0.99)
    assert from_share(0.01, EVEN) == pytest.approx(0.99)
    assert from_percentile(99, EVEN) == pytest.approx(0.99)


@pytest.mark.parametrize("share_of_crowd", [0.05, 0.5, 1.0])
def test_a_crowd_of_equal_scores_at_the_threshold_is_not_flagged(share_of_crowd: float) -> None:
    crowd = round(1000 * share_of_crowd)
    scores = np.concatenate([np.linspace(0.1, 0.4, 1000 - crowd), np.full(crowd, 0.5)])
    threshold = from_share(0.01, Distribution(tuple(quantiles(scores)), per_day=1000.0))
    assert not (scores >= threshold).any()
    assert threshold == pytest.approx(0.5)


def test_a_few_equal_scores_at_the_threshold_are_flagged() -> None:
    scores = np.concatenate([np.linspace(0.1, 0.4, 985), np.full(15, 0.5)])
    assert (scores >= from_share(0.01, Distribution(tuple(quantiles(scores)), per_day=1000.0))).sum() == 15


def test_more_alerts_than_there_are_sessions_flags_everything() -> None:
    assert from_alerts_per_day(5000, EVEN) == 0.0


def test_one_alert_in_a_hundred_days_is_near_the_highest_score() -> None:
    assert 0.9999 < from_alerts_per_day(0.01, EVEN) <= 1.0


@given(st.floats(0.02, 999.0))
def test_a_threshold_gives_the_alerts_it_was_made_for(alerts: float) -> None:
    assert EVEN.above(from_alerts_per_day(alerts, EVEN)) * EVEN.per_day == pytest.approx(alerts, rel=1e-6, abs=1e-9)


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=50), st.floats(0.0, 1.0))
def test_a_percentile_lies_between_0_and_100_and_rises_with_the_score(scores: list[float], score: float) -> None:
    at = quantiles(np.array(scores))
    found = percentile(np.array([score, min(score + 0.1, 1.0)]), at)
    assert 0.0 <= found[0] <= found[1] <= 100.0


def test_a_percentile_is_the_share_of_lower_scores() -> None:
    at = quantiles(np.arange(1001) / 1000)
    np.testing.assert_allclose(
        percentile(np.array([-1.0, 0.0, 0.25, 0.9995, 1.0, 2.0]), at), [0, 0, 25, 99.95, 100, 100]
    )


def test_among_equal_scores_the_percentile_is_that_of_the_lowest() -> None:
    at = quantiles(np.repeat([0.3, 0.6], 500))
    assert percentile(np.array([0.3]), at)[0] == 0.0
    assert percentile(np.array([0.6]), at)[0] == pytest.approx(50.0, abs=0.2)


def test_no_score_has_no_percentile() -> None:
    assert np.isnan(percentile(np.array([np.nan]), np.array(EVEN.quantiles)))[0]


def test_a_row_that_stands_for_three_counts_three_times() -> None:
    scores, weights = np.array([0.1, 0.5, 0.9]), np.array([1000.0, 3000.0, 1000.0])
    weighted = quantiles(scores, weights)
    repeated = quantiles(np.repeat(scores, weights.astype(int)))
    np.testing.assert_allclose(np.interp(50, LEVELS, weighted), np.interp(50, LEVELS, repeated))


def test_equal_weights_change_nothing() -> None:
    scores = np.random.default_rng(1).random(200)
    np.testing.assert_allclose(quantiles(scores, np.full(200, 7.0)), quantiles(scores))


def test_no_scores_have_no_quantiles() -> None:
    with pytest.raises(ValueError, match="no scores"):
        quantiles(np.empty(0))


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan")])
def test_no_alerts_per_day_is_refused(wrong: float) -> None:
    with pytest.raises(ConfigurationError, match="must be more than 0"):
        from_alerts_per_day(wrong, EVEN)


@pytest.mark.parametrize("wrong", [0.0, 1.0, 5.0])
def test_a_share_outside_of_0_to_1_is_refused(wrong: float) -> None:
    with pytest.raises(ConfigurationError, match="between 0 and 1"):
        from_share(wrong, EVEN)


def test_a_percentile_outside_of_0_to_100_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="between 0 and 100"):
        from_percentile(100.0, EVEN)


def test_the_preview_shows_alerts_by_threshold_and_where_we_are() -> None:
    table = preview(EVEN, current=0.985)
    assert table["alerts_per_day"].round(6).tolist() == [1, 2, 5, 10, 15, 20, 50, 100, 200, 500]
    assert table.loc[table["current"], "threshold"].tolist() == [0.985]
    np.testing.assert_allclose(table["share"], 1 - table["threshold"])


def test_a_preview_counts_what_history_would_have_raised() -> None:
    sessions = pd.DataFrame({"day": [1, 1, 1, 2, 2, 2], "score": [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]})
    table = preview_of_history(sessions, days=2.0, current=0.65, proposed=0.45)
    rows = table.set_index("note")
    assert (rows.loc["now", "alerts_per_day"], rows.loc["now", "busiest_day"]) == (1.5, 3)
    assert (rows.loc["asked for", "alerts_per_day"], rows.loc["asked for", "share"]) == (2.5, 5 / 6)
    assert table[table["note"] == ""]["alerts_per_day"].tolist() == [1.0, 2.0]
    assert table["threshold"].is_monotonic_decreasing


def test_a_preview_says_what_of_the_judged_alerts_it_keeps() -> None:
    sessions = pd.DataFrame({"day": 1, "score": [0.9, 0.8, 0.7], "verdict": ["true", "false", None]})
    row = preview_of_history(sessions, days=1.0, current=0.85).set_index("note").loc["now"]
    assert (row["true_kept"], row["false_kept"]) == (1, 0)


def test_a_preview_of_nothing_raises_nothing() -> None:
    table = preview_of_history(pd.DataFrame({"day": [], "score": []}), days=1.0, current=0.5)
    assert table["alerts_per_day"].tolist() == [0.0]
