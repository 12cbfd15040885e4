from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import LocalOutlierFactor

from scoring.flatten import average_path_length, flatten
from scoring.forest import BLOCK, Forest
from scoring.model import Model, Parameters
from tests.unit.training.samples import SMALL, feature_rows, small_champion, small_model
from training.model import FORESTS, fit

ANY_NUMBER = st.floats(allow_nan=True, allow_infinity=True, width=64)


def flat(model: Model) -> Forest:
    forest = flatten(model)
    assert forest is not None
    return forest


def values_of(model: Model, count: int = 600) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return model.columns(feature_rows(count)).to_numpy(np.float64)


@pytest.mark.parametrize("preset", FORESTS)
@pytest.mark.parametrize("parameters", [SMALL, Parameters(40, 512, 1), Parameters(3, 2, 1), Parameters(1, 20, 1)])
def test_the_compiled_scores_are_those_of_scikit_learn(preset: str, parameters: Parameters) -> None:
    model = fit(feature_rows(), preset, parameters)
    np.testing.assert_allclose(flat(model).score(values_of(model)), model.score(feature_rows()), atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(arrays(np.float64, (3, len(small_model().feature_names)), elements=ANY_NUMBER))
def test_no_number_makes_them_differ(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> None:
    model = small_model()
    expected = model.score(pd.DataFrame(values, columns=list(model.feature_names)))
    np.testing.assert_allclose(flat(model).score(values), expected, atol=1e-9)


def test_values_at_a_threshold_go_the_way_scikit_learn_sends_them() -> None:
    """Whole numbers without a logarithm: splits of a float32 lie as near as can be."""
    rows = feature_rows().round()
    model = fit(rows, "plain", SMALL)
    tree = model.detector.estimators_[0].tree_
    at = np.repeat(tree.threshold[tree.feature >= 0, np.newaxis], 2, axis=1)
    near = np.vstack([at, np.nextafter(at, np.inf), np.nextafter(at, -np.inf), at.astype(np.float32)])
    expected = model.score(
        rows.head(1).loc[[0] * len(near)].assign(clicks_per_minute=near[:, 0], pages_per_session=near[:, 1])
    )
    np.testing.assert_allclose(flat(model).score(near), expected, atol=1e-12)


@pytest.mark.parametrize("count", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1])
def test_the_number_of_rows_does_not_matter(count: int) -> None:
    model = small_model()
    values = values_of(model)
    np.testing.assert_array_equal(flat(model).score(values[:count]), flat(model).score(values)[:count])


def test_the_layout_of_the_input_does_not_matter() -> None:
    model = small_model()
    values = values_of(model)
    np.testing.assert_array_equal(flat(model).score(np.asfortranarray(values)), flat(model).score(values))


def test_a_matrix_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(4, 2\), the forest needs \(rows, "):
        flat(small_model()).score(np.zeros((4, 2)))


def test_the_average_path_length_is_that_of_the_paper() -> None:
    """Liu, Ting, Zhou 2008, equation 1, with H(n) as ln(n) + Euler's constant."""
    found = average_path_length(np.array([0.0, 1.0, 2.0, 256.0]))
    np.testing.assert_allclose(found, [0.0, 0.0, 1.0, 2 * (np.log(255) + np.euler_gamma) - 2 * 255 / 256])


def test_another_estimator_is_left_to_scikit_learn() -> None:
    model = small_model()
    prepared = model.pipeline[0].transform(model.columns(feature_rows()))
    other = LocalOutlierFactor(novelty=True).fit(prepared)
    model.pipeline.steps[1][1].func = other.score_samples
    try:
        assert flatten(model) is None
    finally:
        small_model.cache_clear()
        small_champion.cache_clear()


def test_a_forest_that_looks_at_some_features_per_tree_gives_the_same_scores() -> None:
    model = small_model()
    prepared = model.pipeline[0].transform(model.columns(feature_rows()))
    narrow = IsolationForest(n_estimators=20, max_samples=64, max_features=4, random_state=1).fit(prepared)
    model.pipeline.steps[1][1].func = narrow.score_samples
    try:
        np.testing.assert_allclose(flat(model).score(values_of(model)), model.score(feature_rows()), atol=1e-9)
    finally:
        small_model.cache_clear()
        small_champion.cache_clear()


def unbounded() -> Forest:
    forest = flat(small_model())
    wide = np.full_like(forest.preparation.typical, 1e9)
    return replace(forest, preparation=forest.preparation._replace(least=-wide, most=wide))


def test_missing_and_typical_values_are_usual_and_others_are_not() -> None:
    forest = unbounded()
    typical = np.zeros((1, forest.width))
    typical[:, forest.preparation.source] = forest.preparation.typical
    assert forest.usual(np.full((1, forest.width), np.nan)).all()
    assert forest.usual(typical).all()
    assert not forest.usual(typical + 1).any()


def test_a_value_on_the_side_that_is_not_strange_is_usual() -> None:
    forest = unbounded()
    one_sided = replace(forest, preparation=forest.preparation._replace(least=forest.preparation.typical))
    assert one_sided.usual(np.full((1, forest.width), -1.0)).all()
    assert not one_sided.usual(np.full((1, forest.width), 1e6)).any()
