"""Every notebook runs from top to bottom on recorded data, in the environment that ``make notebooks`` gives it."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import jupytext
import numpy as np
import pytest
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from PIL import Image
from pyspark.sql import SparkSession

from alerts.follower import ScoreFollower
from jobs import build_features, ingest_events, promote_model, score_features, train_model
from kafka.producer import EventProducer
from lake.spark_tables import Lake
from local.broker import EmbeddedBroker
from replay.file_replay import replay
from settings import load_settings, local_overrides
from simulation import Scenario, simulate
from tests.paths import PROJECT
from tools import notebooks

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]

NOTEBOOKS = sorted((PROJECT / "notebooks").glob("*.py"))
WITHOUT_SPARK = ("01", "04")
"""These take seconds; the others have a Spark of their own and are slow."""
SMALL = {
    "BEHAVIOR_MODEL__TREES": "60",
    "BEHAVIOR_MODEL__TRIAL_USERS": "200",
    "BEHAVIOR_SPARK__MASTER": "local[2]",
    "BEHAVIOR_SPARK__DRIVER_MEMORY": "2g",
}


@pytest.fixture(scope="module")
def folder(spark: SparkSession, broker: EmbeddedBroker, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``make run`` leaves in its folder: tables, alerts and a champion."""
    folder = tmp_path_factory.mktemp("a run")
    topic = f"notebooks-{uuid.uuid4().hex[:8]}"
    broker.create_topic(topic, 2)
    kafka = [f"kafka.bootstrap_servers={broker.bootstrap_servers}", f"kafka.topic={topic}", "alerts.kafka=false"]
    settings = load_settings("local", [*local_overrides(folder), *kafka, "model.trees=60"])
    lake = Lake(spark, settings.storage.root)
    lake.create()
    with EventProducer(broker.bootstrap_servers, topic) as producer:
        replay(recording(data, folder), producer)
        producer.send_raw(b"no event", b"k")
        producer.flush()
    ingest_events.start(spark, lake, settings, once=True).awaitTermination()
    build_features.start(spark, lake, settings, once=True).awaitTermination()
    version = train_model.train(spark, lake, settings, train_model.TrainingOptions(trial=False))
    promote_model.promote(settings, version, why="first model")
    score_features.start(spark, lake, settings, once=True).awaitTermination()
    assert ScoreFollower(settings).poll()
    return folder


def recording(data: Path, folder: Path) -> Path:
    """An hour of a real shop where it is at hand, else of a simulated one."""
    real = data / "shop_events.jsonl.gz"
    if real.is_file():
        return real
    made = folder / "simulated.jsonl"
    hour = Scenario(datetime(2026, 3, 1, 9, tzinfo=UTC), rate=2.0, duration=timedelta(hours=1), seed=5)
    made.write_text("".join(f"{json.dumps(dict(event))}\n" for event in simulate(hour)), encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def kernel(folder: Path) -> Iterator[KernelManager]:
    """One kernel for all notebooks, so that those with Spark share it; each begins with an empty namespace."""
    (folder / "jupyter").mkdir()
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(env=notebooks.environment(folder) | SMALL)
    yield manager
    manager.shutdown_kernel(now=True)


def executed(cells: list[Any], kernel: KernelManager, folder: Path, *, may_fail: bool = False) -> Any:
    """A notebook of ``cells`` with its outputs; an error in a cell is an error here, unless it may fail."""
    afresh = "get_ipython().run_line_magic('reset', '-f')"
    notebook = jupytext.reads(f"# %%\n{afresh}\nimport os\nos.environ['LOCAL'] = {str(folder)!r}", "py:percent")
    notebook.cells += cells
    here = {"metadata": {"path": str(PROJECT / "notebooks")}}
    NotebookClient(notebook, km=kernel, timeout=900, resources=here, allow_errors=may_fail).execute()
    return notebook


def outputs(notebook: Any) -> list[Any]:
    return [output for cell in notebook.cells for output in cell.get("outputs", ())]


def text(notebook: Any) -> str:
    return "".join(output["text"] for output in outputs(notebook) if output["output_type"] == "stream")


def pictures(notebook: Any) -> list[Image.Image]:
    encoded = [output["data"]["image/png"] for output in outputs(notebook) if "image/png" in output.get("data", {})]
    return [Image.open(io.BytesIO(base64.b64decode(one))) for one in encoded]


@pytest.mark.parametrize(
    "path",
    [pytest.param(p, id=p.stem, marks=() if p.stem[:2] in WITHOUT_SPARK else pytest.mark.slow) for p in NOTEBOOKS],
)
def test_a_notebook_runs_from_top_to_bottom_and_draws_something_to_see(
    path: Path, kernel: KernelManager, folder: Path
) -> None:
    done = executed(jupytext.read(path).cells, kernel, folder)
    drawn = pictures(done)
    assert len(drawn) >= 3
    for picture in drawn:
        grey = np.asarray(picture.convert("L"), np.float64)
        assert min(picture.size) >= 200
        assert (grey < 250).mean() > 0.005  # not a blank sheet
    said = SAYS[path.stem[:2]]
    assert re.search(said, text(done)), text(done)


SAYS = {
    "01": r"1 records rejected",
    "02": r"rows computed from [\d,]+ events: 0 values differ from the stream's",
    "03": r"Version 2 is registered; the champion is version 1\.[\s\S]*The champion is version [12]\.",
    "04": r'"user_id": "[^"]+"[\s\S]*"action": "',
    "05": r"The newest mined day is 20",
}


def test_a_notebook_without_tables_says_in_one_sentence_what_to_do(kernel: KernelManager, tmp_path: Path) -> None:
    assert len(NOTEBOOKS) == 5
    for path in NOTEBOOKS:
        first = next(cell for cell in jupytext.read(path).cells if cell.cell_type == "code")
        errors = [one for one in outputs(executed([first], kernel, tmp_path, may_fail=True)) if "traceback" in one]
        assert len(errors) == 1
        (sentence,) = errors[0]["traceback"]
        assert "\n" not in sentence
        assert f"has no rows yet: run `make run DURATION=180 LOCAL='{tmp_path}'` in the project's folder" in sentence


def test_notebooks_import_the_packages_and_define_nothing() -> None:
    for path in NOTEBOOKS:
        assert not re.search(r"^\s*(def|class|async) ", path.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.slow
def test_make_notebooks_starts_jupyter_for_this_machine_only_and_opens_each_as_a_notebook(tmp_path: Path) -> None:
    log, token = tmp_path / "jupyter.log", uuid.uuid4().hex
    env = {**os.environ, "LOCAL": str(tmp_path), "JUPYTER_TOKEN": token, "DISPLAY": "", "WAYLAND_DISPLAY": ""}
    with log.open("wb") as output:
        server = subprocess.Popen([sys.executable, "-m", "tools.notebooks"], cwd=PROJECT, env=env, stderr=output)
    try:
        address = waited_for(log, server)
        assert address.startswith("http://127.0.0.1:")
        assert httpx.get(f"{address}api/contents/notebooks").status_code == 403
        for path in NOTEBOOKS:
            asked = f"{address}api/contents/notebooks/{path.name}?type=notebook&token={token}"
            answer = httpx.get(asked, timeout=60).json()
            assert answer["type"] == "notebook"
            assert any(cell["cell_type"] == "code" for cell in answer["content"]["cells"])
        viewer = httpx.get(f"{address}lab/api/settings?token={token}", timeout=60).text
        assert "Jupytext Notebook" in viewer
        kernels = httpx.get(f"{address}api/kernelspecs?token={token}", timeout=60).json()
        assert kernels["default"] == "python3"
    finally:
        server.terminate()
        server.wait(60)


def waited_for(log: Path, server: subprocess.Popen[bytes]) -> str:
    """The address that the server prints when it is up."""
    until = time.monotonic() + 300
    while time.monotonic() < until and server.poll() is None:
        found = re.search(r"(http://\S+?/)lab\S*\?token=", log.read_text(encoding="utf-8"))
        if found:
            return found.group(1)
        time.sleep(0.2)
    raise TimeoutError(log.read_text(encoding="utf-8"))
