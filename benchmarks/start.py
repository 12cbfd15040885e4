"""Set-up and start: how long until the first score, and what the set-up and the tests took.

The start is that of ``make run`` on new tables, read from its own summary. The set-up is measured only when BENCH_SETUP
is set, because it needs the network: a fresh copy of the project with empty caches. The test suite is quoted from the
log that BENCH_TEST_LOG names, since it takes longer than all benchmarks together.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from benchmarks._environments import PROJECT
from benchmarks.report import Cell, Table

NOT_COPIED = (".git", ".venv", ".jars", ".local", ".peers", "__pycache__", ".mypy_cache", ".ruff_cache", ".hypothesis")


def run(quick: bool, folder: Path) -> list[Table]:
    """See the module's text."""
    rows = [*_set_up(folder), *_start(folder, 75 if quick else 120), *_tests()]
    notes = ("The start is read from the summary of make run: from the start of its process, on new tables.",)
    return [Table("Set-up and start", ("", "s", "how"), tuple(rows), notes)]


def _set_up(folder: Path) -> list[tuple[Cell, ...]]:
    if not os.environ.get("BENCH_SETUP"):
        return [("set-up of a fresh copy, empty caches", None, "not measured: BENCH_SETUP=1 does, with the network")]
    copy = folder / "copy"
    shutil.copytree(PROJECT, copy, ignore=shutil.ignore_patterns(*NOT_COPIED))
    env = {**os.environ, "UV_CACHE_DIR": str(folder / "uv"), "PIP_NO_CACHE_DIR": "1"}
    began = time.monotonic()
    done = subprocess.run(["make", "setup"], cwd=copy, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        return [("set-up of a fresh copy, empty caches", None, f"failed: {done.stderr.strip()[-200:]}")]
    return [("set-up of a fresh copy, empty caches", time.monotonic() - began, "make setup")]


def _start(folder: Path, seconds: int) -> list[tuple[Cell, ...]]:
    how = f"make run DURATION={seconds}"
    command = [sys.executable, "-m", "jobs.run_pipeline", "--duration", str(seconds), "--local", str(folder / "local")]
    done = subprocess.run(
        [*command, "--set", "serving.port=0"], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        return [("start to the first score", None, f"failed: {(done.stdout + done.stderr).strip()[-200:]}")]
    first = re.search(r"first scores\W+(\d+) s after the start", done.stdout)
    delay = re.search(r"event to score\W+p50 ([\d.]+) s, p95 ([\d.]+) s", done.stdout)
    rows: list[tuple[Cell, ...]] = [
        ("start to the first score", float(first.group(1)) if first else None, how if first else f"none within {how}")
    ]
    if delay:
        rows += [(f"live event to score, p{p}", float(delay.group(n)), how) for n, p in ((1, 50), (2, 95))]
    return rows


def _tests() -> list[tuple[Cell, ...]]:
    log = os.environ.get("BENCH_TEST_LOG")
    if not log:
        return [("test suite", None, "not quoted: BENCH_TEST_LOG names the log of make test")]
    summaries = re.findall(r"=+ (.*?) in ([\d.]+)s", Path(log).read_text(encoding="utf-8", errors="replace"))
    if not summaries:
        return [("test suite", None, f"{Path(log).name} has no last line of pytest")]
    return [("test suite", float(summaries[-1][1]), f"make test: {summaries[-1][0]}")]
