"""The estimator: a plain scikit-learn pipeline from one factory, and the one place that turns its sign.

A pipeline takes a DataFrame with named columns and holds only scikit-learn and numpy objects, so that
loading it never needs this package. Values are bounded first (an infinite or absurd number must be strange,
not an error), missing ones get the typical value (the training median), and heavy tails are compared on a log scale.
The default preset also takes as typical what is not strange by its feature's definition (``Feature.strange``), and
learns from one row for each user, so that nobody's many rows make a dense place in which the user looks ordinary.

The fitted pipeline ends in a mirror, so that ``predict`` gives the platform's score itself: higher is stranger.
MLflow's ``pyfunc`` can call nothing but ``predict`` of a scikit-learn model, and an IsolationForest's own
``predict`` says only 1 or -1. So anybody who loads the registered model, with or without this package, gets our scores.

Source of the method: Liu, Ting, Zhou, "Isolation Forest", ICDM 2008.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import IsolationForest
from sklearn.impute import SimpleImputer
from sklearn.isotonic import IsotonicRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from features.definitions import FEATURES, Feature
from features.errors import ConfigurationError, TooFewRows
from scoring.model import Floats, Model, Parameters
from scoring.reference import MAX_VALUE
from training import detectors, grove

SIZE = "session_events"
"""Grows within a session: its greatest value marks the session's last row."""

FLOOR_OF_ROWS = 20
"""Fewer rows say nothing about what is normal."""


def scoring(fitted: Pipeline, learned: pd.DataFrame) -> Pipeline:
    """A fitted (prepare, detector) pipeline as one whose ``predict`` is the anomaly score.

    For a forest that is ``-score_samples``, and this is the only place where its sign is turned. scikit-learn has no
    negation as an object, but a falling isotonic regression through (-1, 1) and (0, 0) is one, and ``score_samples``
    never leaves -1 to 0. Other detectors' scores are brought to 0 to 1 by what they give the ``learned`` rows.
    """
    prepare, detector = (step for _, step in fitted.steps)
    raw = detectors.raw_scorer(detector)
    if isinstance(detector, IsolationForest):
        mirror = IsotonicRegression(increasing=False, out_of_bounds="clip").fit([-1.0, 0.0], [1.0, 0.0])
    else:
        mirror = detectors.mirror(detector, np.asarray(raw(prepare.transform(learned)), np.float64))
    return Pipeline([("prepare", prepare), ("detector", FunctionTransformer(raw)), ("mirror", mirror)])


def build(preset: str, parameters: Parameters, typical: Mapping[str, float] | None = None) -> Pipeline:
    """An unfitted pipeline (prepare, detector). Raises ConfigurationError for an unknown preset.

    ``typical`` values (NaN: not known) bound the features of which only one end is strange.
    """
    return _preset(preset).build(parameters, typical or {})


def features_of(preset: str) -> tuple[str, ...]:
    """The columns a preset uses, in order."""
    return _preset(preset).features


def fit(frame: pd.DataFrame, preset: str = "default", parameters: Parameters | None = None) -> Model:
    """Fit a preset to rows of features (doubles, NaN where unknown; further columns are ignored).

    The subsample is never larger than the rows there are. Raises TooFewRows when there are too few to learn from.
    """
    parameters = parameters or Parameters()
    if len(frame) < FLOOR_OF_ROWS:
        raise TooFewRows(
            f"{len(frame)} rows can be judged, {FLOOR_OF_ROWS} are needed to learn what is normal. "
            "Let more events come in, widen the time range, or lower model.min_session_events."
        )
    used = Parameters(parameters.trees, min(parameters.subsample, len(frame)), parameters.seed)
    learned = one_row_per_user(frame, used) if _preset(preset).one_row_per_user else frame
    # Without the gaps: pandas warns of a column that is nothing else.
    typical = {name: float(learned[name].dropna().median()) for name in features_of(preset) if name in learned}
    model = Model(build(preset, used, typical), features_of(preset), preset, parameters=used)
    rows = model.columns(learned if preset in FORESTS else detectors.bounded(learned, used.seed))
    fitted = _grown(model.pipeline, rows, used) if _preset(preset).in_groups else model.pipeline.fit(rows)
    return replace(model, pipeline=scoring(fitted, rows))


def _grown(pipeline: Pipeline, rows: pd.DataFrame, parameters: Parameters) -> Pipeline:
    """The pipeline fitted with a forest whose trees look at groups of features (:mod:`training.grove`)."""
    prepare = pipeline.named_steps["prepare"]
    prepared = np.asarray(prepare.fit_transform(rows), np.float64)
    names = [str(name) for name in prepare.get_feature_names_out()]
    forest = grove.grow(prepared, names, parameters.trees, parameters.subsample, parameters.seed)
    return Pipeline([("prepare", prepare), ("detector", forest)])


def one_row_per_user(frame: pd.DataFrame, parameters: Parameters) -> pd.DataFrame:
    """Of each user the last row of one session, drawn by the seed; of all users one more while they are too few.

    Too few is less than a subsample. Then users give the last row of another session, and at last other rows, in
    turns. Without the columns user_id, session_start and session_events every row is taken.
    """
    session = ["user_id", "session_start"]
    if not {*session, SIZE} <= set(frame.columns):
        return frame
    drawn = frame[[*session, SIZE]].reset_index(drop=True).sample(frac=1.0, random_state=parameters.seed)
    drawn["is_last"] = ~drawn.sort_values(SIZE, ascending=False, kind="stable").duplicated(session)
    turn = drawn.sort_values("is_last", ascending=False, kind="stable").groupby("user_id").cumcount().sort_index()
    enough = np.searchsorted(np.cumsum(np.bincount(turn)), min(parameters.subsample, len(frame)))
    return frame[turn.to_numpy() <= enough]


def flagged_share_of(model: Model) -> float | None:
    """The share of rows a forest itself would flag (scikit-learn's ``contamination``), None when left open."""
    contamination = model.detector.contamination if isinstance(model.detector, IsolationForest) else "auto"
    return None if contamination == "auto" else float(contamination)


@dataclass(frozen=True)
class _Preset:
    features: tuple[str, ...]
    build: Callable[[Parameters, Mapping[str, float]], Pipeline]
    one_row_per_user: bool = False
    in_groups: bool = False


DEFAULT_FEATURES = (
    "clicks_per_minute",
    "events_per_minute",
    "pages_per_session",
    "distinct_pages_per_session",
    "session_minutes",
    "gap_mean_seconds",
    "gap_variation",
    "gap_equal_share",
    "repeat_ratio",
    "click_share",
    "view_share",
    "interaction_share",
    "own_rate_ratio",
    "session_active_rate",
    "recent_minutes",
    "recent_hours",
    "form_repeat_share",
)
"""Those that find strangeness on every kind of data; each further one dilutes the forest (docs/decisions/004, 015)."""


def _default(parameters: Parameters, typical: Mapping[str, float]) -> Pipeline:
    forest = IsolationForest(
        n_estimators=parameters.trees,
        max_samples=parameters.subsample,
        contamination="auto",
        random_state=parameters.seed,
    )
    return Pipeline([("prepare", _prepared(typical)), ("detector", forest)])


def _prepared(typical: Mapping[str, float]) -> ColumnTransformer:
    """The preparation of the default features."""
    used = [feature for feature in FEATURES if feature.name in DEFAULT_FEATURES]
    heavy = [feature for feature in used if feature.heavy_tail]
    even = [feature for feature in used if not feature.heavy_tail]
    branches = [
        ("heavy", _branch(0.0, compress=True, ends=_ends(heavy, typical)), [feature.name for feature in heavy]),
        ("even", _branch(-MAX_VALUE, compress=False, ends=_ends(even, typical)), [feature.name for feature in even]),
    ]
    return _transformer(branches)


def _other(name: str) -> Callable[[Parameters, Mapping[str, float]], Pipeline]:
    """Another detector on the default features, each scaled to the same spread: distances and bins need that."""

    def build_other(_: Parameters, typical: Mapping[str, float]) -> Pipeline:
        prepare = Pipeline([("columns", _prepared(typical)), ("scale", StandardScaler())])
        return Pipeline([("prepare", prepare), ("detector", detectors.OTHERS[name]())])

    return build_other


def _ends(features: Sequence[Feature], typical: Mapping[str, float]) -> dict[str, Floats]:
    """Bounds for ``np.clip`` that make an end that is not strange typical."""
    middle = np.array([typical.get(feature.name, np.nan) for feature in features])
    known = np.isfinite(middle)
    high, low = (np.array([feature.strange == end for feature in features]) & known for end in ("high", "low"))
    return {
        "a_min": np.where(high, np.clip(middle, -MAX_VALUE, MAX_VALUE), -MAX_VALUE),
        "a_max": np.where(low, np.clip(middle, -MAX_VALUE, MAX_VALUE), MAX_VALUE),
    }


ORIGINAL_FEATURES = ("clicks_per_minute", "pages_per_session")


def _plain(parameters: Parameters, typical: Mapping[str, float]) -> Pipeline:
    """The original design: two features as they are, a tenth of all rows is strange; scikit-learn's own defaults."""
    forest = IsolationForest(contamination=0.1, random_state=parameters.seed)
    branches = [("even", _branch(-MAX_VALUE, compress=False), list(ORIGINAL_FEATURES))]
    return Pipeline([("prepare", _transformer(branches)), ("detector", forest)])


_PRESETS = {
    "default": _Preset(DEFAULT_FEATURES, _default, one_row_per_user=True, in_groups=True),
    "plain": _Preset(ORIGINAL_FEATURES, _plain),
    **{name: _Preset(DEFAULT_FEATURES, _other(name), one_row_per_user=True) for name in detectors.OTHERS},
}
PRESETS = tuple(_PRESETS)
FORESTS = ("default", "plain")
"""Presets with trees and rows per tree; the others are detectors of another kind."""


def _preset(name: str) -> _Preset:
    if name in detectors.REFUSED:
        raise ConfigurationError(
            f"model.preset is '{name}', which {detectors.REFUSED[name]}. Take one of {', '.join(PRESETS)}."
        )
    if name not in _PRESETS:
        raise ConfigurationError(f"model.preset is '{name}', it must be one of {', '.join(PRESETS)}.")
    return _PRESETS[name]


def _transformer(branches: Sequence[tuple[str, Pipeline, list[str]]]) -> ColumnTransformer:
    """The branches side by side; the result has their columns in this order."""
    return ColumnTransformer(list(branches), verbose_feature_names_out=False)


def _branch(least: float, *, compress: bool, ends: Mapping[str, Floats] | None = None) -> Pipeline:
    """Bound, impute, take ends that are not strange as typical, and for heavy tails compress."""
    bounds = {"a_min": least, "a_max": MAX_VALUE}
    steps: list[tuple[str, object]] = [
        ("bound", FunctionTransformer(np.clip, kw_args=bounds, feature_names_out="one-to-one")),
        ("impute", SimpleImputer(strategy="median", keep_empty_features=True)),
    ]
    if ends is not None:
        steps.append(("ends", FunctionTransformer(np.clip, kw_args=dict(ends), feature_names_out="one-to-one")))
    if compress:
        steps.append(("compress", FunctionTransformer(np.log1p, feature_names_out="one-to-one")))
    return Pipeline(steps)
