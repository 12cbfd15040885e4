from __future__ import annotations

import json

import numpy as np
import pytest

from features.errors import ModelError
from scoring.reference import FEATURE_LEVELS, MAX_VALUE, from_json
from tests.unit.training.samples import feature_rows, small_model, small_reference
from training.evaluate import flagged_share
from training.summary import describe


@pytest.mark.parametrize("preset", ["default", "plain"])
def test_it_is_the_same_after_writing_and_reading(preset: str) -> None:
    assert from_json(small_reference(preset).to_json()) == small_reference(preset)


def test_the_threshold_flags_the_share_that_was_asked_for() -> None:
    scores = small_model().score(feature_rows())
    assert flagged_share(scores, small_reference().threshold) == pytest.approx(0.05, abs=0.005)


def test_the_plain_preset_flags_a_tenth_whatever_is_asked_for() -> None:
    scores = small_model("plain").score(feature_rows())
    assert flagged_share(scores, small_reference("plain").threshold) == pytest.approx(0.1, abs=0.01)


def test_typical_is_the_median_of_the_training_rows() -> None:
    reference = small_reference()
    medians = feature_rows()[list(reference.feature_names)].median()
    np.testing.assert_allclose(reference.typical(), medians)
    assert reference.features["own_rate_ratio"].missing == pytest.approx(1 / 7, abs=0.01)


def test_bins_hold_equal_shares_of_the_training_rows() -> None:
    normal = small_reference().features["clicks_per_minute"]
    assert len(normal.shares) == len(normal.edges) + 1 == 10
    np.testing.assert_allclose(normal.shares, 0.1, atol=0.01)


def test_alerts_are_counted_by_user_session() -> None:
    sessions = feature_rows()[["user_id", "session_start"]].drop_duplicates()
    alerts = small_reference().alerts
    assert (alerts.unit, alerts.per_day) == ("user sessions", len(sessions) / 2.0)


def test_sessions_of_a_sample_count_as_often_as_they_come() -> None:
    rows = feature_rows()
    whole = describe(small_model(), rows, days=2.0).alerts
    sampled = describe(small_model(), rows.assign(session_weight=4.0), days=2.0).alerts
    assert (sampled.per_day, sampled.quantiles) == (4 * whole.per_day, whole.quantiles)


def test_without_sessions_alerts_are_counted_by_row() -> None:
    rows = feature_rows().drop(columns=["user_id", "session_start"])
    assert describe(small_model(), rows, days=3.0).alerts.per_day == 200.0


def test_rows_that_stand_for_many_count_as_many() -> None:
    assert describe(small_model(), feature_rows().assign(weight=5.0), days=1.0).row_scores.per_day == 3000.0


def test_absurd_values_are_bounded_and_unknown_features_are_empty() -> None:
    rows = feature_rows().assign(clicks_per_minute=np.inf, own_rate_ratio=np.nan)
    reference = from_json(describe(small_model(), rows, days=1.0).to_json())
    assert reference.features["clicks_per_minute"].quantiles == (MAX_VALUE,) * len(FEATURE_LEVELS)
    assert reference.features["own_rate_ratio"].missing == 1.0


@pytest.mark.parametrize("damage", ["", "{}", "[]", "null", '{"features": {"a": {}}}'])
def test_a_damaged_file_says_what_to_do(damage: str) -> None:
    with pytest.raises(ModelError, match=r"behavior\.json of the model cannot be read.*Train the model again"):
        from_json(damage)


def test_a_field_that_is_missing_is_found() -> None:
    fields = json.loads(small_reference().to_json())
    del fields["threshold"]
    with pytest.raises(ModelError, match="threshold"):
        from_json(json.dumps(fields))
