"""Small synthetic feature rows and models for the tests of training."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd

from features.definitions import FEATURES
from scoring.champion import LoadedModel
from scoring.model import Model, Parameters
from scoring.reference import Reference
from training.model import fit
from training.summary import describe

SMALL = Parameters(trees=25, subsample=64, seed=3)


def feature_rows(count: int = 600, seed: int = 0) -> pd.DataFrame:
    """Rows with every feature: log-normal where the tail is heavy, else within 0 to 1; a seventh has no own past."""
    random = np.random.default_rng(seed)
    rows = {
        feature.name: np.round(random.lognormal(1.0, 0.7, count), 2) if feature.heavy_tail else random.random(count)
        for feature in FEATURES
    }
    frame = pd.DataFrame(rows)
    random = np.random.default_rng([seed, 1])  # of their own: the same whatever features there are
    frame["session_events"] = 5.0 + random.integers(0, 40, count)
    frame.loc[::7, "own_rate_ratio"] = np.nan
    frame["user_id"] = random.integers(0, 50, count)
    frame["session_start"] = random.integers(0, 6, count)
    return frame


def bot_row(**given: float) -> pd.DataFrame:
    """One row, typical but for what is given."""
    rows = feature_rows()
    typical = {feature.name: float(rows[feature.name].median()) for feature in FEATURES}
    return pd.DataFrame([typical | given])


@cache
def small_model(preset: str = "default") -> Model:
    return fit(feature_rows(), preset, SMALL)


@cache
def small_reference(preset: str = "default") -> Reference:
    return describe(small_model(preset), feature_rows(), days=2.0, flagged_share=0.05)


@cache
def small_champion(preset: str = "default", version: str = "1") -> LoadedModel:
    return LoadedModel.of("model", version, small_model(preset), small_reference(preset))
