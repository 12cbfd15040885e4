"""Detectors of other kinds than the isolation forest, as presets on equal terms: same features, same preparation.

Only those whose score of a row does not depend on the rows beside it: a stream is scored in batches of any size. PyOD's
ECOD and COPOD rank each batch together with the training rows, so the same row gets another score in another batch;
they are refused. The learned rows are bounded, because neighbours are searched among all of them.

Sources: LOF, Breunig et al., SIGMOD 2000; kNN, Ramaswamy et al., SIGMOD 2000; PCA, Shyu et al., ICDM 2003.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.isotonic import IsotonicRegression
from sklearn.neighbors import LocalOutlierFactor

Floats = NDArray[np.float64]

NEIGHBOURS = 20
"""LOF's paper: at least 10, so that chance does not speak; fewer than the smallest cluster that is normal."""
MAX_LEARNED = 5000
"""Rows that are kept as neighbours."""

_BY_BATCH = "scores a row by the rows beside it, so a stream's scores would depend on its batches"
REFUSED = {"ecod": _BY_BATCH, "copod": _BY_BATCH}
"""Presets that are not to be had, and why."""


def _lof() -> BaseEstimator:
    return LocalOutlierFactor(n_neighbors=NEIGHBOURS, novelty=True)


def _knn() -> BaseEstimator:
    from pyod.models.knn import KNN  # noqa: PLC0415  # PyOD takes seconds to import

    return KNN(n_neighbors=NEIGHBOURS, method="largest")


def _pca() -> BaseEstimator:
    from pyod.models.pca import PCA  # noqa: PLC0415

    # A feature that never varies has a component of no spread, which distances divide by.
    return PCA(n_components=0.999)


FROM_PYOD: dict[str, Callable[[], BaseEstimator]] = {
    "knn": _knn,
    "pca": _pca,
}
"""A version of these is only used with the PyOD that trained it."""
OTHERS: dict[str, Callable[[], BaseEstimator]] = {
    "lof": _lof,
    **FROM_PYOD,
}
"""Unfitted detectors by preset."""


def bounded(rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    """At most :data:`MAX_LEARNED` rows, drawn by the seed, in their order."""
    return rows if len(rows) <= MAX_LEARNED else rows.sample(MAX_LEARNED, random_state=seed).sort_index()


def raw_scorer(detector: BaseEstimator) -> Callable[[Floats], Floats]:
    """The fitted detector's own method; PyOD's rises with strangeness, scikit-learn's falls."""
    method: Callable[[Floats], Floats] = getattr(
        detector, "decision_function" if _from_pyod(detector) else "score_samples"
    )
    return method


def mirror(detector: BaseEstimator, raw: Floats) -> IsotonicRegression:
    """What turns raw scores into the platform's: between 0 and 1, higher is stranger, 1/2 at the median of ``raw``.

    ``raw``, shape (rows,), are the learned rows' scores. Between knots it is linear: order is kept to a million spreads
    (the distance from the median to the upper decile) beyond the median, where 1 is reached but for 5e-7.
    """
    sign = 1.0 if _from_pyod(detector) else -1.0
    strange = sign * raw[np.isfinite(raw)]
    middle = float(np.median(strange))
    spread = float(np.quantile(strange, 0.9)) - middle
    steps = np.geomspace(1e-3, 1e6, 500)
    distance = np.concatenate([-steps[::-1], [0.0], steps])
    knots = middle + (spread or 1.0) * distance
    regression = IsotonicRegression(increasing=sign > 0, out_of_bounds="clip")
    return regression.fit(sign * knots, 0.5 * (1.0 + distance / (1.0 + np.abs(distance))))


def _from_pyod(detector: BaseEstimator) -> bool:
    return type(detector).__module__.startswith("pyod.")
