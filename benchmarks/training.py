"""How much memory a training on a million feature rows takes: ``jobs/train_model`` as a user runs it, watched.

The rows are drawn at random, 50 minutes for each user; what is measured is memory and time, not a model. The peak is
that of the resident memory of the job's processes (Python, and the Java virtual machine that Spark runs in), looked at
ten times a second.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
from pyspark.sql.pandas.types import to_arrow_schema

from benchmarks.report import Table
from features.definitions import FEATURE_VERSION, FEATURES
from features.tables import FEATURE_TABLE
from lake import arrow_tables

PROJECT = Path(__file__).resolve().parents[1]
MINUTES = 50
CHUNK = 2000
"""Users that are written at a time."""

START = np.datetime64("2026-03-01T00:00:00", "us")
"""In UTC."""
EVERY_SECONDS = 0.1


def write_rows(root: Path, rows: int) -> None:
    """A features table of so many rows under ``root``, without Spark: it would warm up what is measured."""
    random = np.random.default_rng(1)
    columns = list(to_arrow_schema(FEATURE_TABLE.schema, timezone="UTC"))
    users = rows // MINUTES
    for first in range(0, users, CHUNK):
        count = min(CHUNK, users - first) * MINUTES
        minute = np.arange(count) % MINUTES
        at = START + minute * np.timedelta64(1, "m")
        values: dict[str, object] = {
            "user_id": np.char.add("user ", (first + np.arange(count) // MINUTES).astype(str)),
            "window_start": at,
            "session_start": np.full(count, START),
            "session_is_split": np.zeros(count, bool),
            "last_received_at": at,
            "feature_version": np.full(count, FEATURE_VERSION),
            "batch_time": np.full(count, START),
            "batch_id": np.full(count, "benchmark:0"),
        }
        for feature in FEATURES:
            drawn = random.lognormal(1.0, 0.7, count) if feature.heavy_tail else random.random(count)
            values[feature.name] = np.maximum(drawn, feature.least)
        values["session_events"] = 5.0 + minute
        arrays = [pa.array(values[field.name]).cast(field.type) for field in columns]
        arrow_tables.append(str(root), FEATURE_TABLE, pa.table(arrays, schema=pa.schema(columns)))


def watched(command: list[str]) -> tuple[dict[str, float], float, str]:
    """Run a command: the peak memory in MiB of ``python``, ``java`` and ``both`` at one moment, seconds, its output."""
    peaks: dict[str, float] = defaultdict(float)
    began = time.monotonic()
    process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    watch = psutil.Process(process.pid)
    while process.poll() is None:
        for kind, size in _sizes(watch).items():
            peaks[kind] = max(peaks[kind], size)
        time.sleep(EVERY_SECONDS)
    output = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {output[-2000:]}")
    return peaks, time.monotonic() - began, output


def _sizes(process: psutil.Process) -> dict[str, float]:
    sizes: dict[str, float] = defaultdict(float)
    try:
        for one in [process, *process.children(recursive=True)]:
            size = one.memory_info().rss / 2**20
            sizes["java" if one.name() == "java" else "python"] += size
            sizes["both"] += size
    except psutil.NoSuchProcess:
        return {}  # one ended while we looked
    return sizes


def run(quick: bool, folder: Path) -> list[Table]:
    """``make bench`` calls it; see :mod:`benchmarks.__main__`."""
    rows = 100_000 if quick else 1_000_000
    write_rows(folder / "lake", rows)
    given = [
        f"storage.root={folder}/lake",
        f"model.tracking_uri=sqlite:///{folder}/mlflow.db",
        "spark.master=local[2]",
    ]
    settings = [word for one in given for word in ("--set", one)]
    peaks, seconds, output = watched([sys.executable, "-m", "jobs.train_model", "--env", "local", *settings])
    said = next((line for line in output.splitlines() if " seen) of " in line), "")
    cells = [round(peaks[kind]) for kind in ("python", "java", "both")]
    return [
        Table(
            "Memory of a training (MiB, peak)",
            ("rows", "Python", "Java", "both at once", "seconds"),
            ((rows, *cells, round(seconds)),),
            (said, "Spark's driver had conf/local.yaml's model.driver_memory; seconds include the start of Spark."),
        )
    ]
