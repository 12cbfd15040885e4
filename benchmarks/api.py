"""The prediction API against what a user would run instead: MLflow's own server, and Flask with joblib.

All three are up at the same time with one worker each and are asked in turns, by one load generator in a process of its
own with the same number of keep-alive connections. Ours and MLflow serve the same registered version and are sent the
same rows. The Flask app is what tutorials of the original design show: scikit-learn's IsolationForest on two features,
``predict`` for a row, and the server that comes with Flask; it answers with the verdict alone, ours with score,
percentile and reasons as well.
"""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import Request, urlopen

import joblib
import numpy as np
import pandas as pd
from sklearn.ensemble import IsolationForest

from benchmarks._servers import free_ports, running
from benchmarks.report import Table
from features.definitions import FEATURES
from registry.mlflow_registry import Registry
from scoring.model import Parameters
from settings import PROJECT
from training.model import fit
from training.summary import describe

NAME = "benchmarked"
CONNECTIONS = 8
BODIES = 400
ORIGINAL = ("clicks_per_minute", "pages_per_session")

SETTING = (
    "Medians of {rounds} rounds of {seconds:g} s in turns, {connections} connections that ask again when answered. "
    "The load generator is one process, the same for all, and shares the machine."
)
ANSWERS = (
    "Ours answers with verdict, score, percentile and reasons, MLflow with the score, the Flask app with the verdict "
    "of a smaller model (100 trees on two features; ours and MLflow's has 200 on 17)."
)
FLASK = "Flask's own server closes the connection after each answer: connecting is part of its time, as for its users."

TUTORIAL = """
import joblib
import numpy as np
from flask import Flask, jsonify, request

app = Flask(__name__)
model = joblib.load("model.joblib")


@app.route("/predict_behavior", methods=["POST"])
def predict_behavior():
    data = request.get_json()
    features = np.array([[data["clicks_per_minute"], data["pages_per_session"]]])
    prediction = model.predict(features)
    result = "Anomaly" if prediction[0] == -1 else "Normal"
    return jsonify({"behavior_prediction": result})


if __name__ == "__main__":
    import sys
    app.run(host="127.0.0.1", port=int(sys.argv[1]))
"""


@dataclass
class Contestant:
    """A server, the bodies it is sent, and what was measured of it, one figure for each round."""

    name: str
    address: str
    bodies: Path
    rates: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)

    def load(self, seconds: float) -> None:
        """One round."""
        command = [sys.executable, "-m", "benchmarks._load", self.address, str(self.bodies), str(seconds)]
        run = subprocess.run([*command, str(CONNECTIONS)], capture_output=True, text=True, cwd=PROJECT, check=False)
        if run.returncode:
            raise RuntimeError(f"{self.name}: {run.stderr.strip()[-500:]}")
        latencies = json.loads(run.stdout)
        self.rates.append(len(latencies) / seconds)
        self.p50.append(float(np.percentile(latencies, 50)))
        self.p99.append(float(np.percentile(latencies, 99)))


def run(quick: bool, folder: Path) -> list[Table]:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the servers end with this process
    rounds, seconds = (1, 2.0) if quick else (3, 5.0)
    rows = feature_rows(4000)
    registry = registered(rows, folder)
    with ExitStack() as stack:
        contestants = [stack.enter_context(server) for server in servers(rows, registry, folder)]
        compare_scores(contestants, rows)
        for contestant in contestants:
            contestant.load(1.0)
            for figures_of_warming in (contestant.rates, contestant.p50, contestant.p99):
                figures_of_warming.clear()
        for _ in range(rounds):
            for contestant in contestants:
                contestant.load(seconds)
    return [figures(contestants, rounds, seconds)]


def figures(contestants: Sequence[Contestant], rounds: int, seconds: float) -> Table:
    ours = contestants[0]
    lines = [
        (
            one.name,
            statistics.median(one.rates),
            statistics.median(one.p50),
            statistics.median(one.p99),
            statistics.median(a / b for a, b in zip(ours.rates, one.rates, strict=True)),
            statistics.median(a / b for a, b in zip(ours.p99, one.p99, strict=True)),
        )
        for one in contestants
    ]
    return Table(
        "Prediction API: one row for each request, one worker each",
        ("server", "requests/s", "p50 ms", "p99 ms", "ours, times its requests/s", "our p99 as a share of its"),
        tuple(lines),
        (SETTING.format(rounds=rounds, seconds=seconds, connections=CONNECTIONS), ANSWERS, FLASK),
    )


# --- the model and the servers ---


def feature_rows(count: int) -> pd.DataFrame:
    """Rows with every feature; one in fifty is far outside."""
    random = np.random.default_rng(5)
    values = {
        feature.name: random.lognormal(1.0, 0.7, count) if feature.heavy_tail else random.beta(2, 5, count)
        for feature in FEATURES
    }
    frame = pd.DataFrame(values).round(3)
    far = [feature.name for feature in FEATURES if feature.heavy_tail]
    frame.loc[frame.index % 50 == 0, far] *= 40
    for feature in FEATURES:
        frame[feature.name] = frame[feature.name].clip(upper=feature.most)
    frame["session_events"] = 20.0
    frame["user_id"], frame["session_start"] = random.integers(0, 500, count), random.integers(0, 6, count)
    return frame


def registered(rows: pd.DataFrame, folder: Path) -> Registry:
    registry = Registry(NAME, f"sqlite:///{folder}/mlflow.db")
    model = fit(rows, "default", Parameters())
    registry.promote(
        registry.log_and_register(model, describe(model, rows, days=1.0, flagged_share=0.01), rows.head(200))
    )
    return registry


def servers(rows: pd.DataFrame, registry: Registry, folder: Path) -> Iterator[AbstractContextManager[Contestant]]:
    names = registry.load("1").model.feature_names
    sent = rows.sample(BODIES, random_state=1)
    objects = [{name: row[name] for name in names} for row in sent.to_dict("records")]
    split = [{"dataframe_split": {"columns": list(names), "data": [[one[name] for name in names]]}} for one in objects]
    two = [{name: one[name] for name in ORIGINAL} for one in objects]
    joblib.dump(
        IsolationForest(contamination=0.1, random_state=0).fit(rows[list(ORIGINAL)].to_numpy()), folder / "model.joblib"
    )
    folder.joinpath("app.py").write_text(TUTORIAL, encoding="utf-8")
    port = free_ports(3)
    python = sys.executable
    place = [f"storage.root={folder}/lake", f"model.tracking_uri={registry.tracking_uri}", f"model.name={NAME}"]
    limits = [f"serving.port={port[0]}", "serving.rate_per_second=1000000", "serving.burst=1000000"]
    overrides = [word for one in (*place, *limits, "kafka.bootstrap_servers=127.0.0.1:1") for word in ("--set", one)]
    mlflow = ["models", "serve", "-m", f"models:/{NAME}@champion", "-p", str(port[1]), "--env-manager", "local"]
    yield started(
        "ours", [python, "-m", "serving", *overrides], f"{port[0]}/predict_behavior", objects, folder, PROJECT
    )
    yield started(
        "mlflow models serve", [python, "-m", "mlflow", *mlflow, "-w", "1"], f"{port[1]}/invocations", split, folder,
        folder, MLFLOW_TRACKING_URI=registry.tracking_uri,
    )  # fmt: skip
    yield started(
        "Flask + joblib", [python, "app.py", str(port[2])], f"{port[2]}/predict_behavior", two, folder, folder
    )


@contextmanager
def started(
    name: str, command: list[str], place: str, bodies: Sequence[object], folder: Path, cwd: Path, **environment: str
) -> Iterator[Contestant]:
    """A server, up and answering; it ends with the block."""
    short, address = name.partition(" ")[0], f"http://127.0.0.1:{place}"
    file = folder / f"{short}.json"
    file.write_text(json.dumps([json.dumps(body) for body in bodies]), encoding="utf-8")
    with running(command, folder / f"{short}.log", cwd, lambda: post(address, json.dumps(bodies[0])), **environment):
        yield Contestant(name, address, file)


def post(address: str, body: str) -> object:
    request = Request(address, body.encode(), {"Content-Type": "application/json"})
    with urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def compare_scores(contestants: Sequence[Contestant], rows: pd.DataFrame) -> None:
    """Ours and MLflow's must give the same rows the same scores: else it is not the same model."""
    ours, theirs = (json.loads(one.bodies.read_text(encoding="utf-8")) for one in contestants[:2])
    for mine, other in zip(ours[:20], theirs[:20], strict=True):
        one, two = post(contestants[0].address, mine), post(contestants[1].address, other)
        assert isinstance(one, dict)
        assert isinstance(two, dict)
        difference = abs(one["anomaly_score"] - two["predictions"][0])
        if difference > 1e-9:
            raise RuntimeError(f"The scores differ by {difference:g} on {len(rows)} rows' model.")
