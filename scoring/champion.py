"""A model as it is used, and the follower that keeps the newest one in hand while a stream runs."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Protocol

import numpy as np
import pandas as pd
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, stop_after_delay, wait_fixed

from features.errors import ModelError
from scoring.flatten import flatten
from scoring.forest import Floats, Forest
from scoring.model import Model
from scoring.reference import FEATURE_LEVELS, Reference

log = logging.getLogger(__name__)

SAME = 1e-9
"""Most by which the compiled scorer may differ from scikit-learn."""

REGISTRY_SECONDS = 5.0
"""How long one micro-batch may wait for the registry."""

PATIENCE_SECONDS = 30.0
"""How long a version that could not be loaded is left alone before it is tried again."""


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A registered model, checked and ready: its numbers, what was normal, and the threshold in force.

    ``forest`` is the compiled scorer; None for an estimator that is no IsolationForest (the pipeline scores then).
    """

    name: str
    version: str
    model: Model
    reference: Reference
    threshold: float
    forest: Forest | None

    @classmethod
    def of(cls, name: str, version: str, model: Model, reference: Reference) -> LoadedModel:
        """A model with its own threshold, its scorer compiled and compared."""
        return cls(name, version, model, reference, reference.threshold, compiled_scorer(model, reference))

    def score(self, values: Floats) -> Floats:
        """Anomaly scores, shape (rows,), of raw values in the model's order, shape (rows, features); NaN is missing."""
        if self.forest is not None:
            return self.forest.score(values)
        return self.model.score(pd.DataFrame(values, columns=list(self.model.feature_names)))


def compiled_scorer(model: Model, reference: Reference) -> Forest | None:
    """The compiled scorer when it can be had and agrees with scikit-learn on the training quantiles, else None."""
    forest = flatten(model)
    if forest is None:
        return None
    nothing_known = np.full((1, len(model.feature_names)), np.nan)
    grid = np.array([reference.features[name].quantiles for name in model.feature_names]).T
    probe = np.vstack([grid, np.roll(grid, len(FEATURE_LEVELS) // 2, axis=1), nothing_known])
    expected = model.score(pd.DataFrame(probe, columns=list(model.feature_names)))
    difference = float(np.abs(forest.score(probe) - expected).max())
    if difference > SAME:
        log.warning("The compiled scorer differs from scikit-learn by %g; scikit-learn scores instead.", difference)
        return None
    return forest


@dataclass(frozen=True)
class Resolved:
    """What an alias points to right now; ``threshold`` is None when the version carries no threshold of its own."""

    version: str
    threshold: float | None = None


class ModelSource(Protocol):
    """What the follower needs of a registry; :class:`registry.mlflow_registry.Registry` is one."""

    def resolve(self, alias: str = ...) -> Resolved | None: ...

    def load(self, version: str) -> LoadedModel: ...


@dataclass(frozen=True)
class Followed:
    """The model to use now, whether it has just changed, and what went wrong if anything did."""

    champion: LoadedModel
    changed: bool
    trouble: str | None = None


@dataclass(frozen=True)
class _Refused:
    version: str
    error: ModelError
    until: float


@dataclass
class ChampionFollower:
    """Asks the registry at every micro-batch, swaps when the alias has moved, keeps the last good model on trouble.

    A changed threshold of the same version counts as a change. Not thread-safe: one per streaming query.
    """

    source: ModelSource
    alias: str = "champion"
    seconds: float = REGISTRY_SECONDS
    _current: LoadedModel | None = field(default=None, init=False)
    _refused: _Refused | None = field(default=None, init=False)

    def follow(self) -> Followed:
        """The model for this micro-batch, within a few seconds.

        Raises ModelError, saying what to run, when there is no model and never was one.
        """
        before = self._current
        try:
            resolved = self._attempts()(self.source.resolve, self.alias)
            self._current = self._model_of(resolved)
        except ModelError as error:
            if before is None:
                raise
            return Followed(before, changed=False, trouble=f"version {before.version} goes on: {error}")
        return Followed(self._current, changed=self._current is not before)

    def _model_of(self, resolved: Resolved | None) -> LoadedModel:
        if resolved is None:
            raise ModelError(
                f"No model has the alias '{self.alias}'. Train and promote one: "
                "python -m jobs.train_model, then python -m jobs.promote_model."
            )
        current = self._current
        if current is None or current.version != resolved.version:
            current = self._loaded(resolved.version)
        threshold = current.reference.threshold if resolved.threshold is None else resolved.threshold
        return current if threshold == current.threshold else replace(current, threshold=threshold)

    def _loaded(self, version: str) -> LoadedModel:
        """The version, or the error it gave a moment ago: a damaged one is not fetched at every micro-batch."""
        if self._refused is not None and self._refused.version == version and monotonic() < self._refused.until:
            raise self._refused.error
        try:
            return self.source.load(version)
        except ModelError as error:
            self._refused = _Refused(version, error, monotonic() + PATIENCE_SECONDS)
            raise

    def _attempts(self) -> Retrying:
        return Retrying(
            retry=retry_if_exception_type(ModelError),
            stop=stop_after_attempt(2) | stop_after_delay(self.seconds / 2),
            wait=wait_fixed(0.2),
            reraise=True,
        )
