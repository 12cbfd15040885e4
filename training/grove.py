"""A forest whose trees look at groups of features: most at behaviour as a whole, some at what is done alone.

A tree that may choose among all features seldom comes to ask about the one that matters: the more ways there are to
be ordinary, the longer the path to what is strange in one respect only. So a sixth of the trees sees nothing but the
shares of actions, where sending a form again and again cannot hide behind an ordinary pace. Feature bagging for outlier
detection is by Lazarevic and Kumar (KDD 2005); here the bags are chosen by meaning and not by lot, so reasons stay
readable and a data set without such actions loses nothing: trees that find no difference give every row the same path.

The result is one plain ``IsolationForest``: scikit-learn keeps the columns of each tree anyway (``max_features``).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest

ACTIONS = ("click_share", "view_share", "interaction_share", "form_repeat_share")
"""What the smaller group of trees looks at."""
ONLY_ACTIONS = ("interaction_share",)
"""Left to that group: beside all the others it dilutes more than it tells (docs/decisions/015)."""
ONE_IN = 6
"""One tree of so many looks at the actions alone."""
PER_TREE = ("estimators_", "estimators_features_", "_decision_path_lengths", "_average_path_length_per_tree", "_seeds")
"""What a fitted forest of scikit-learn keeps for each tree."""


def grow(prepared: NDArray[np.float64], names: Sequence[str], trees: int, subsample: int, seed: int) -> IsolationForest:
    """Fit ``trees`` trees to prepared rows, shape (rows, columns), whose columns have these ``names``.

    With fewer than ``ONE_IN`` trees all of them look at behaviour as a whole.
    """
    actions = np.array([place for place, name in enumerate(names) if name in ACTIONS], np.int64)
    whole = np.array([place for place, name in enumerate(names) if name not in ONLY_ACTIONS], np.int64)
    few = trees // ONE_IN
    forest = _fitted(prepared, whole, trees - few, subsample, seed)
    return _joined(forest, _fitted(prepared, actions, few, subsample, seed + 1)) if few else forest


def _fitted(
    prepared: NDArray[np.float64], columns: NDArray[np.int64], trees: int, subsample: int, seed: int
) -> IsolationForest:
    """A forest on some columns; ``estimators_features_`` are places among all of them."""
    forest = IsolationForest(n_estimators=trees, max_samples=subsample, contamination="auto", random_state=seed)
    forest.fit(prepared[:, columns])
    placed = [columns[chosen] for chosen in forest.estimators_features_]
    # Fewer features than columns tell scikit-learn to hand each tree its own.
    vars(forest).update(estimators_features_=placed, n_features_in_=prepared.shape[1], _max_features=len(columns))
    return forest


def _joined(forest: IsolationForest, other: IsolationForest) -> IsolationForest:
    """The trees of both in one forest: a row's path length is the mean over all of them."""
    ours, theirs = vars(forest), vars(other)
    ours.update({name: [*ours[name], *theirs[name]] for name in PER_TREE})
    ours.update(n_estimators=len(forest.estimators_), _max_features=min(ours["_max_features"], theirs["_max_features"]))
    return forest
