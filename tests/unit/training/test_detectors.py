"""Detectors of other kinds than the forest, on equal terms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skops.io

from features.errors import ConfigurationError
from registry.artifact import TRUSTED_TYPES, libraries, needed, other_libraries, unpack
from tests.unit.training.samples import bot_row, feature_rows, small_model
from training.detectors import MAX_LEARNED, OTHERS, bounded
from training.model import build, flagged_share_of

PRESETS = pytest.mark.parametrize("preset", sorted(OTHERS))


@PRESETS
def test_its_scores_lie_between_0_and_1_and_half_of_the_rows_are_below_the_middle(preset: str) -> None:
    scores = small_model(preset).score(feature_rows())
    assert 0 < scores.min() < scores.max() < 1
    assert np.median(scores) == pytest.approx(0.5, abs=0.2)


@PRESETS
def test_a_flood_of_clicks_is_stranger_to_it_than_a_typical_row(preset: str) -> None:
    flood = bot_row(clicks_per_minute=400.0, events_per_minute=410.0, gap_mean_seconds=0.0)
    assert small_model(preset).score(flood)[0] > small_model(preset).score(bot_row())[0] + 0.03


@PRESETS
def test_a_rows_score_does_not_depend_on_the_rows_beside_it(preset: str) -> None:
    rows = feature_rows(40, seed=5)
    apart = np.concatenate([small_model(preset).score(rows[:3]), small_model(preset).score(rows[3:])])
    np.testing.assert_allclose(apart, small_model(preset).score(rows), rtol=1e-12)


@PRESETS
def test_an_absurd_or_missing_value_is_no_error(preset: str) -> None:
    rows = bot_row(clicks_per_minute=np.inf, own_rate_ratio=np.nan, events_per_minute=1e308)
    assert small_model(preset).score(rows)[0] > small_model(preset).score(bot_row())[0]


@PRESETS
def test_it_is_stored_with_skops_and_read_with_our_own_list(preset: str, tmp_path: Path) -> None:
    skops.io.dump(small_model(preset).pipeline, tmp_path / "model.skops")
    assert set(skops.io.get_untrusted_types(file=tmp_path / "model.skops")) <= set(TRUSTED_TYPES)
    rows = small_model(preset).columns(feature_rows(50))
    np.testing.assert_array_equal(unpack(tmp_path / "model.skops").predict(rows), small_model(preset).score(rows))


@PRESETS
def test_it_has_no_share_of_flagged_rows_of_its_own(preset: str) -> None:
    assert flagged_share_of(small_model(preset)) is None


@pytest.mark.parametrize("preset", ["ecod", "copod"])
def test_a_detector_that_ranks_rows_within_their_batch_is_refused_and_says_why(preset: str) -> None:
    with pytest.raises(ConfigurationError, match=r"scores a row by the rows beside it.*Take one of default, plain"):
        build(preset, small_model().parameters)


def test_it_learns_from_a_bounded_number_of_rows_drawn_by_the_seed() -> None:
    rows = feature_rows(MAX_LEARNED + 100)
    assert len(bounded(rows, 1)) == MAX_LEARNED
    assert bounded(rows, 1).index.equals(bounded(rows, 1).index)
    assert not bounded(rows, 1).index.equals(bounded(rows, 2).index)


def test_pyod_matters_to_the_detectors_that_come_from_it_only() -> None:
    old = {**libraries(), "pyod": "0.1"}
    assert other_libraries(old, "default") == ""
    assert other_libraries(old, "pca").startswith("pyod 0.1 (here ")
    assert "pyod" in needed("knn")
