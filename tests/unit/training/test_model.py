from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import IsolationForest

from features.definitions import FEATURE_NAMES
from features.errors import ConfigurationError, ModelError, SchemaError
from scoring.model import Parameters
from tests.unit.training.samples import SMALL, bot_row, feature_rows, small_model
from training.model import PRESETS, build, fit, flagged_share_of, one_row_per_user


def test_a_flood_of_clicks_is_stranger_than_a_typical_row() -> None:
    flood = bot_row(clicks_per_minute=400.0, events_per_minute=410.0, gap_mean_seconds=0.0)
    assert small_model().score(flood)[0] > small_model().score(bot_row())[0] + 0.03


def test_the_score_is_the_opposite_of_score_samples() -> None:
    model = small_model()
    prepared = model.pipeline[0].transform(model.columns(feature_rows()))
    np.testing.assert_allclose(model.score(feature_rows()), -model.detector.score_samples(prepared), atol=1e-12)


def test_scores_lie_between_0_and_1() -> None:
    scores = small_model().score(feature_rows())
    assert 0 < scores.min() < scores.max() < 1


def test_a_missing_feature_is_taken_as_typical() -> None:
    unknown = bot_row().assign(own_rate_ratio=np.nan)
    learned = one_row_per_user(feature_rows(), SMALL)
    known = bot_row(own_rate_ratio=float(learned["own_rate_ratio"].median()))
    assert small_model().score(unknown) == small_model().score(known)


@pytest.mark.parametrize("absurd", [np.inf, 1e308])
def test_an_absurd_value_is_strange_and_no_error(absurd: float) -> None:
    assert small_model().score(bot_row(clicks_per_minute=absurd))[0] > small_model().score(bot_row())[0]


@pytest.mark.parametrize("nothing", [-np.inf, -1e308, -3.0])
def test_a_count_below_0_is_taken_as_0(nothing: float) -> None:
    assert small_model().score(bot_row(clicks_per_minute=nothing)) == small_model().score(
        bot_row(clicks_per_minute=0.0)
    )


def test_the_order_of_columns_and_further_columns_do_not_matter() -> None:
    rows = feature_rows()
    turned = rows[rows.columns[::-1]].assign(another="text")
    np.testing.assert_array_equal(small_model().score(turned), small_model().score(rows))


def test_integers_score_like_doubles() -> None:
    whole = bot_row().round().fillna(1)
    assert small_model().score(whole.astype("int64")) == small_model().score(whole)


def test_no_rows_give_no_scores() -> None:
    assert small_model().score(feature_rows().head(0)).shape == (0,)


def test_a_missing_column_is_named() -> None:
    with pytest.raises(SchemaError, match="lacks the model's columns events_per_minute"):
        small_model().score(feature_rows().drop(columns="events_per_minute"))


def test_the_same_rows_and_seed_give_the_same_model() -> None:
    again = fit(feature_rows(), "default", SMALL)
    np.testing.assert_array_equal(again.score(feature_rows()), small_model().score(feature_rows()))


def test_the_default_leaves_contamination_open() -> None:
    assert set(small_model().feature_names) <= set(FEATURE_NAMES)
    assert flagged_share_of(small_model()) is None


def test_the_plain_preset_is_the_original_design() -> None:
    model = small_model("plain")
    assert model.feature_names == ("clicks_per_minute", "pages_per_session")
    assert isinstance(model.detector, IsolationForest)
    assert flagged_share_of(model) == 0.1


def test_the_subsample_is_never_larger_than_the_rows() -> None:
    assert fit(feature_rows(30), "default", Parameters(trees=2)).parameters.subsample == 30


def test_too_few_rows_say_what_to_do() -> None:
    with pytest.raises(ModelError, match=r"3 rows can be judged, 20 are needed.*Let more events come in"):
        fit(feature_rows(3))


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match="'fancy', it must be one of default, plain"):
        build("fancy", SMALL)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.filterwarnings("error:Mean of empty slice")
def test_a_feature_nobody_has_does_not_stop_training(preset: str) -> None:
    rows = feature_rows().assign(clicks_per_minute=np.nan)
    assert np.isfinite(fit(rows, preset, SMALL).score(rows)).all()
