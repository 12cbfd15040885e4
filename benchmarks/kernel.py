"""The forest alone, without Spark: rows per second in bulk and microseconds for one row, and whether scores agree.

The champion's own pipeline by scikit-learn, its conversion by skl2onnx in onnxruntime, an isotree of the same size, and
the compiled kernel of ``scoring/forest.py``. onnxruntime and isotree run in a process and an environment of their own
(``benchmarks/peers/forests.py``); each is held to one thread, as is everybody. Contestants take turns; medians.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import joblib
import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from benchmarks._environments import PROJECT, environment
from benchmarks.report import Cell, Table
from features.definitions import FEATURES
from scoring.champion import compiled_scorer
from training.model import fit
from training.summary import describe

LEARNED_FROM = 5_000
SAME = 1e-6
ONNX, ISOTREE = "onnxruntime", "isotree"


def run(quick: bool, folder: Path) -> list[Table]:
    """See the module's text."""
    rows, single, rounds = (20_000, 100, 1) if quick else (100_000, 300, 3)
    drawn = _drawn(rows)
    model = fit(drawn.head(LEARNED_FROM))
    forest = compiled_scorer(model, describe(model, drawn.head(LEARNED_FROM), days=1.0))
    if forest is None:
        raise AssertionError("the kernel refuses the champion")
    values = model.columns(drawn).to_numpy()
    frame = pd.DataFrame(values, columns=list(model.feature_names))
    expected = model.pipeline.predict(frame)
    contestants: dict[str, Callable[[int], Any]] = {
        "scikit-learn: the pipeline": lambda count: model.pipeline.predict(frame.iloc[:count]),
        "this project: compiled kernel": lambda count: forest.score(values[:count]),
    }
    seconds: dict[str, dict[int, list[float]]] = {name: {rows: [], 1: []} for name in contestants}
    with threadpool_limits(1):
        for number in range(rounds + 1):
            for name, work in contestants.items():
                for count, times in ((rows, 1), (1, single)):
                    began = time.perf_counter()
                    for _ in range(times):
                        work(count)
                    if number:  # the first round compiles
                        seconds[name][count].append((time.perf_counter() - began) / times)
    figures = {name: _figures(seconds[name], rows) for name in contestants}
    differences = {name: float(np.abs(work(rows) - expected).max()) for name, work in contestants.items()}
    theirs = _peers(folder, model, values, expected, rounds, single)
    base = figures["scikit-learn: the pipeline"]
    lines: list[tuple[Cell, ...]] = []
    for name, (rate, micros) in figures.items():
        lines.append((name, rate, rate / base[0], micros, f"{differences[name]:.1g}", _agrees(differences[name])))
    for name, answer in theirs.items():
        if "problem" in answer:
            lines.append((name, None, None, None, None, str(answer["problem"])))
            continue
        rate, apart = answer["rate"], answer["difference"]
        said = "another forest: not the champion" if apart is None else _agrees(apart)
        lines.append((name, rate, rate / base[0], answer["micros"], None if apart is None else f"{apart:.1g}", said))
    return [
        Table(
            f"The forest alone: {rows:,} rows of {values.shape[1]} features, {model.parameters.trees} trees",
            ("", "rows/s", "times scikit-learn", "µs for one row", "greatest difference", "same scores"),
            tuple(lines),
            (
                f"One thread each; medians of {rounds} rounds in turns; the others in a process of their own.",
                "scikit-learn and ours take raw values with gaps; onnxruntime and isotree get them prepared already.",
                "isotree grows a forest of its own of the same size: it cannot take over scikit-learn's.",
            ),
        )
    ]


def _drawn(rows: int) -> pd.DataFrame:
    chance = np.random.default_rng(1)
    columns = {}
    for feature in FEATURES:
        values = chance.lognormal(1.0, 0.7, rows) if feature.heavy_tail else chance.random(rows)
        values = np.clip(values, feature.least, feature.most if feature.most is not None else np.inf)
        columns[feature.name] = np.where(chance.random(rows) < 0.02, np.nan, values)
    return pd.DataFrame(columns)


def _figures(seconds: dict[int, list[float]], rows: int) -> tuple[float, float]:
    return rows / median(seconds[rows]), 1e6 * median(seconds[1])


def _agrees(difference: float) -> str:
    return "yes" if difference <= SAME else f"no: to {difference:.1g}"


def _peers(folder: Path, model: Any, values: Any, expected: Any, rounds: int, single: int) -> dict[str, dict[str, Any]]:
    """The figures of onnxruntime and isotree, or why there are none."""
    answers: dict[str, dict[str, Any]] = {}
    prepared = model.pipeline.named_steps["prepare"].transform(pd.DataFrame(values, columns=list(model.feature_names)))
    joblib.dump(model.detector, folder / "forest.joblib")
    np.savez(folder / "rows.npz", prepared=np.asarray(prepared, np.float32), expected=expected)
    for name, made in ((ONNX, "kernel"), (ISOTREE, "isotree")):
        env = environment(made)
        if env.problem is not None:
            answers[name] = {"problem": f"does not install: {env.problem}"}
            continue
        command = [str(env.python), "-m", "benchmarks.peers.forests", name, str(folder), str(rounds), str(single)]
        threads = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=PROJECT, env=threads, capture_output=True, text=True, check=False)
        title = f"{name} {env.versions(name).split()[-1]}"
        if done.returncode:
            answers[title] = {"problem": f"failed: {done.stderr.strip().splitlines()[-1][:160]}"}
            continue
        answers[title] = json.loads(done.stdout.strip().splitlines()[-1])
    return answers
