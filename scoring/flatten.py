"""From a fitted model to the arrays of :mod:`scoring.forest`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import IsolationForest
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from scoring.forest import Floats, Forest, Preparation, Prepared, Trees
from scoring.model import Model


def flatten(model: Model) -> Forest | None:
    """The model as arrays; None when it is not an IsolationForest behind the factory's preparation."""
    prepare, forest = model.pipeline[0], model.detector
    if type(prepare) is not ColumnTransformer or type(forest) is not IsolationForest:
        return None
    preparation = _flatten_preparation(prepare)
    if preparation is None:
        return None
    scale = float(average_path_length(np.array([float(forest.max_samples_)]))[0])
    return Forest(len(prepare.feature_names_in_), preparation, _flatten_trees(forest), scale)


def average_path_length(rows: Floats) -> Floats:
    """Average length of an unsuccessful search among so many rows, shape as given (equation 1 of the paper)."""
    many = np.maximum(rows, 3.0)
    harmonic = np.log(many - 1.0) + np.euler_gamma
    return np.where(rows <= 1.0, 0.0, np.where(rows == 2.0, 1.0, 2.0 * harmonic - 2.0 * (many - 1.0) / many))


def _flatten_preparation(prepare: ColumnTransformer) -> Preparation | None:
    """The arrays of every branch (bound, impute, for some compress) in the order of the transformer's output."""
    position = {name: index for index, name in enumerate(prepare.feature_names_in_)}
    columns: list[tuple[int, float, float, float, bool]] = []
    for _, branch, names in prepare.transformers_:
        if isinstance(branch, str) and branch == "drop":
            continue
        bounds = _bounds(branch, len(names))
        if bounds is None:
            return None
        typical = branch[1].statistics_
        least, most, compress = bounds
        columns += [(position[name], typical[i], least[i], most[i], compress) for i, name in enumerate(names)]
    source, typical_values, least_values, most_values, compressed = zip(*columns, strict=True)
    return Preparation(
        np.array(source, np.int64),
        np.array(typical_values, np.float64),
        np.array(least_values, np.float64),
        np.array(most_values, np.float64),
        np.array(compressed, np.bool_),
    )


def _bounds(branch: object, columns: int) -> tuple[Floats, Floats, bool] | None:
    """The bounds of a branch this module can follow, per column, and whether it compresses; None for any other.

    A second bound lies inside the first, or the first ends it, and imputed values are within both.
    """
    if not isinstance(branch, Pipeline) or len(branch) < 2:
        return None
    bound, impute, *others = [step for _, step in branch.steps]
    ends = others[:1] if others and _calls(others[0], np.clip) else []
    compress = others[len(ends) :]
    known = (
        _calls(bound, np.clip)
        and isinstance(impute, SimpleImputer)
        and len(compress) <= 1
        and all(_calls(step, np.log1p) for step in compress)
    )
    if not known:
        return None
    least, most = np.full(columns, -np.inf), np.full(columns, np.inf)
    for step in (bound, *ends):
        least = np.maximum(least, step.kw_args["a_min"])
        most = np.minimum(most, step.kw_args["a_max"])
    return least, most, bool(compress)


def _calls(step: object, function: object) -> bool:
    return isinstance(step, FunctionTransformer) and step.func is function


def _flatten_trees(forest: IsolationForest) -> Trees:
    trees = [_flatten_tree(forest, index) for index in range(len(forest.estimators_))]
    starts = np.cumsum([0] + [len(tree.child) for tree in trees])
    return Trees(
        column=np.concatenate([tree.column for tree in trees]),
        threshold=np.concatenate([tree.threshold for tree in trees]),
        child=np.concatenate([tree.child + np.uint32(start) for tree, start in zip(trees, starts, strict=False)]),
        path=np.concatenate([tree.path for tree in trees]),
        rows=np.concatenate([tree.rows for tree in trees]),
        roots=starts[:-1].astype(np.uint32),
        depth=np.concatenate([tree.depth for tree in trees]),
    )


def _flatten_tree(forest: IsolationForest, index: int) -> Trees:
    """One tree with its nodes renumbered breadth first, so that two children are neighbours."""
    tree = forest.estimators_[index].tree_
    columns = forest.estimators_features_[index]
    order, child, level = _breadth_first(tree.children_left, tree.children_right)
    leaf = tree.children_left[order] < 0
    rows = tree.n_node_samples[order].astype(np.float64)
    return Trees(
        column=np.where(leaf, 0, columns[np.where(leaf, 0, tree.feature[order])]).astype(np.uint32),
        threshold=np.where(leaf, np.float32(np.inf), _rounded_down(tree.threshold[order])),
        child=child,
        path=np.where(leaf, level + average_path_length(rows), 0.0),
        rows=rows,
        roots=np.zeros(1, np.uint32),
        depth=level.max(keepdims=True),
    )


def _breadth_first(
    left: NDArray[np.int64], right: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.uint32], NDArray[np.int64]]:
    """Old number, (new) first child and steps from the root of every node in its new place."""
    order, child, level = [0], [], [0]
    for place, node in enumerate(order):  # the list grows while it is read
        if left[node] < 0:
            child.append(place)
            continue
        child.append(len(order))
        order += [int(left[node]), int(right[node])]
        level += [level[place] + 1] * 2
    return np.array(order, np.int64), np.array(child, np.uint32), np.array(level, np.int64)


def _rounded_down(threshold: Floats) -> Prepared:
    """The greatest float32 that is not above each threshold."""
    near = threshold.astype(np.float32)
    return np.where(near > threshold, np.nextafter(near, np.float32(-np.inf)), near)
