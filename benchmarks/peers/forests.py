"""Figures of one other scorer of forests, as a line of JSON.

``python -m benchmarks.peers.forests NAME FOLDER ROUNDS SINGLE`` runs in
an environment of its own; of this project it may import nothing.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import joblib
import numpy as np
from sklearn.tree._tree import Tree

Scorer = Callable[[Any], Any]


def widened(forest: Any, width: int) -> Any:
    """The same forest with trees that see all columns, of which each uses its own: the converter takes no other."""
    for tree, columns in zip(forest.estimators_, forest.estimators_features_, strict=True):
        state = tree.tree_.__getstate__()
        nodes = state["nodes"].copy()
        inner = nodes["left_child"] >= 0
        nodes["feature"][inner] = np.asarray(columns)[nodes["feature"][inner]]
        whole = Tree(width, np.ones(1, np.intp), 1)
        whole.__setstate__({**state, "nodes": nodes})
        tree.tree_, tree.n_features_in_ = whole, width
    forest.estimators_features_ = [np.arange(width)] * len(forest.estimators_)
    forest._max_features = forest.max_features = forest.n_features_in_ = width  # noqa: SLF001
    return forest


def onnxruntime(folder: Path, rows: Any) -> Scorer:
    """The same forest, converted; higher is stranger."""
    import onnxruntime as ort  # noqa: PLC0415 - each runs where only one of them is installed
    from skl2onnx import to_onnx  # noqa: PLC0415

    forest = widened(joblib.load(folder / "forest.joblib"), rows.shape[1])
    converted = to_onnx(forest, rows[:1], target_opset={"": 15, "ai.onnx.ml": 3}, options={"score_samples": True})
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(converted.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]
    output, entry = next(name for name in names if "samples" in name), session.get_inputs()[0].name
    return lambda chosen: -session.run([output], {entry: chosen})[0].ravel()


def isotree(folder: Path, rows: Any) -> Scorer:
    """A forest of the same size, grown by isotree."""
    from isotree import IsolationForest  # noqa: PLC0415

    forest = IsolationForest(ntrees=240, sample_size=64, ndim=1, nthreads=1, missing_action="fail", random_seed=17)
    forest.fit(rows[:5000].astype(np.float64))
    return lambda chosen: forest.predict(chosen.astype(np.float64))


def main(name: str, folder: Path, rounds: int, single: int) -> None:
    """Measure and print."""
    held = np.load(folder / "rows.npz")
    rows, expected = held["prepared"], held["expected"]
    score: Scorer = {"onnxruntime": onnxruntime, "isotree": isotree}[name](folder, rows)
    difference = float(np.abs(score(rows) - expected).max()) if name == "onnxruntime" else None
    bulk, one = [], []
    for _ in range(rounds):
        began = time.perf_counter()
        score(rows)
        bulk.append(time.perf_counter() - began)
        began = time.perf_counter()
        for number in range(single):
            score(rows[number : number + 1])
        one.append((time.perf_counter() - began) / single)
    figures = {"rate": len(rows) / median(bulk), "micros": 1e6 * median(one), "difference": difference}
    print(json.dumps(figures))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
