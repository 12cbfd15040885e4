"""A fitted model: its pipeline, whose ``predict`` gives anomaly scores, the columns it takes, and how it was fitted."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline

from features.definitions import FEATURE_VERSION
from features.errors import SchemaError

Floats = NDArray[np.float64]

AT_A_TIME = 50_000
"""Rows that are scored at a time: scikit-learn keeps several copies of all it is given."""


@dataclass(frozen=True)
class Parameters:
    """What may be tuned. ``trees`` and ``subsample`` (rows per tree) are counts, ``seed`` makes a fit repeatable."""

    trees: int = 240
    subsample: int = 64
    seed: int = 17


@dataclass(frozen=True)
class Model:
    """A fitted pipeline (``predict`` gives anomaly scores), the columns it needs in their order, and its origin."""

    pipeline: Pipeline
    feature_names: tuple[str, ...]
    preset: str
    feature_version: str = FEATURE_VERSION
    parameters: Parameters = field(default_factory=Parameters)

    def score(self, frame: pd.DataFrame) -> Floats:
        """Anomaly scores, shape (rows,), between 0 and 1, higher is stranger. No rows give no scores."""
        if frame.empty:
            return np.empty(0)
        parts = range(0, len(frame), AT_A_TIME)
        return np.concatenate([self._scored(frame.iloc[first : first + AT_A_TIME]) for first in parts])

    def _scored(self, frame: pd.DataFrame) -> Floats:
        return np.asarray(self.pipeline.predict(self.columns(frame)), np.float64)

    @property
    def detector(self) -> BaseEstimator:
        """The fitted estimator behind the mirror, such as the IsolationForest."""
        return detector_of(self.pipeline)

    def columns(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The model's columns as doubles in the model's order; raises SchemaError naming those that are missing."""
        missing = [name for name in self.feature_names if name not in frame.columns]
        if missing:
            raise SchemaError(
                f"The frame lacks the model's columns {', '.join(missing)}; it has {', '.join(map(str, frame))}. "
                "Build features with the version the model was trained on."
            )
        return frame[list(self.feature_names)].astype("float64")


def detector_of(pipeline: Pipeline) -> BaseEstimator:
    """The fitted estimator of a pipeline that :func:`training.model.scoring` made."""
    return pipeline.named_steps["detector"].func.__self__
