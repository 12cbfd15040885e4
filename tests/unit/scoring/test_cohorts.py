"""What is usual among users alike: new, seldom or often there."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd

from scoring.cohorts import COHORTS, MIN_ROWS, PAST, Cohorts, learn
from scoring.model import Parameters
from scoring.reasons import reason
from scoring.reference import FEATURE_LEVELS, FeatureReference, from_json
from tests.unit.training.samples import feature_rows
from training.model import fit
from training.summary import describe

NEW, SELDOM, OFTEN = COHORTS
CLICKS = FeatureReference(4.0, tuple(np.linspace(0, 40, len(FEATURE_LEVELS))), (), (1.0,), 0.0)


def three_kinds() -> Cohorts:
    """Users without a past click once a minute, those with 10 minutes of past twice, those with 90 nine times."""
    past = np.repeat([0.0, 10.0, 90.0], MIN_ROWS)
    clicks = np.repeat([1.0, 2.0, 9.0], MIN_ROWS)
    return learn(pd.DataFrame({"clicks_per_minute": clicks}), past)


def test_a_user_is_compared_with_users_who_have_as_much_of_a_past() -> None:
    found = three_kinds()
    assert found.usual("clicks_per_minute", 0.0) == (NEW, 1.0)
    assert found.usual("clicks_per_minute", 5.0) == (SELDOM, 2.0)
    assert found.usual("clicks_per_minute", 200.0) == (OFTEN, 9.0)


def test_too_few_users_alike_and_an_unknown_past_say_nothing() -> None:
    few = learn(pd.DataFrame({"clicks_per_minute": np.ones(MIN_ROWS)}), np.r_[np.zeros(MIN_ROWS - 1), 5.0])
    assert few.usual("clicks_per_minute", 0.0) is None
    assert few.usual("clicks_per_minute", np.nan) is None
    assert few.usual("of another version", 0.0) is None


def test_the_sentence_names_users_alike_where_they_differ_from_everybody() -> None:
    text = reason("clicks_per_minute", 30, 0.1, CLICKS, alike=lambda _: (OFTEN, 9.0))["text"]
    assert str(text).endswith("; usually 9 for users who come often")
    assert "for new users" not in str(reason("clicks_per_minute", 30, 0.1, CLICKS, alike=lambda _: (NEW, 4.0))["text"])


def test_what_is_usual_among_users_alike_is_kept_with_the_model() -> None:
    rows = feature_rows()
    model = fit(rows, parameters=Parameters(trees=20))
    kept = from_json(describe(model, rows, days=1.0).to_json())
    assert kept.cohorts == describe(model, rows, days=1.0).cohorts
    assert kept.cohorts is not None
    assert set(kept.cohorts.typical) == set(model.feature_names)
    without = json.loads(kept.to_json())
    del without["cohorts"]
    assert from_json(json.dumps(without)).cohorts is None
    assert describe(model, rows.drop(columns=PAST), days=1.0).cohorts is None
