"""``make run`` in a folder of a test's own, and jobs beside it, each in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from features.tables import SCORES
from lake import arrow_tables
from settings import local_overrides
from tests.conftest import JAVA
from tests.integration.upkeep import KEY
from tests.paths import PROJECT

SMALL = ["spark.master=local[2]", "spark.driver_memory=1g", f"spark.java_options={JAVA}", "model.trees=40"]
MORE = [*SMALL, "serving.port=0", "model.min_training_rows=50"]
PATIENCE = 900.0
EVENTS_TOPIC, ALERTS_TOPIC = "user_behavior_topic", "user_behavior_alerts"


def sets(folder: Path, *more: str) -> list[str]:
    return [word for each in (*local_overrides(folder), *MORE, *more) for word in ("--set", each)]


def until(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"{what} did not come to pass"
        time.sleep(0.5)


def servers(folder: Path) -> str:
    text = (folder / "kafka" / "server.properties").read_text(encoding="utf-8")
    found = re.search(r"^advertised\.listeners=PLAINTEXT://(\S+)$", text, re.MULTILINE)
    assert found is not None
    return found[1]


def environment() -> dict[str, str]:
    return {**os.environ, "BEHAVIOR_PSEUDONYM_KEY": KEY}


@contextmanager
def running(folder: Path, name: str, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """``make run`` in a group of processes of its own, ended as Ctrl-C does; what it prints goes to ``name``.out."""
    command = [sys.executable, "-m", "jobs.run_pipeline", "--local", str(folder), *words]
    command += [word for each in MORE for word in ("--set", each)]
    with (folder.parent / f"{name}.out").open("wb") as out:
        run = subprocess.Popen(
            command, cwd=PROJECT, env=environment(), stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            yield run
        finally:
            if run.poll() is None:
                run.send_signal(signal.SIGINT)
                try:
                    run.wait(180)
                finally:
                    if run.poll() is None:
                        os.killpg(run.pid, signal.SIGKILL)


def job(folder: Path, name: str, *words: str, more: tuple[str, ...] = (), codes: tuple[int, ...] = (0,)) -> str:
    """What the job printed on the run's tables; it must end with one of ``codes``, and without a trace."""
    kafka = f"kafka.bootstrap_servers={servers(folder)}"
    command = [sys.executable, "-m", f"jobs.{name}", *words, *sets(folder, kafka, *more)]
    done = subprocess.run(command, cwd=PROJECT, env=environment(), capture_output=True, text=True, check=False)
    said = f"{name}: exit code {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert done.returncode in codes, said
    assert "Traceback" not in done.stderr, said
    return done.stdout


def rows_of_anybody(folder: Path) -> int:
    return int(arrow_tables.read(str(folder / "lake"), SCORES, ["user_id"]).num_rows)
