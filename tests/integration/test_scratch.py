"""Laws of what Spark and Python keep for a moment: beside the lake, and gone when the next one starts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.paths import PROJECT

A_RUN = """
import sys, tempfile
from pyspark.sql import functions as F
from spark.session import spark_session
from settings import load_settings

spark = spark_session(load_settings("local", [f"storage.root={sys.argv[1]}", "spark.driver_memory=1g"]))
people = spark.range(1000).withColumn("user_id", F.lit("person-73f1")).repartition(2).cache()
people.write.format("delta").save(sys.argv[1] + "/events")


def with_a_folder(parts):
    tempfile.mkdtemp(prefix="worker-")
    yield from parts


assert people.mapInPandas(with_a_folder, people.schema).count() == 1000
open(tempfile.mkdtemp() + "/example", "w").write("person-73f1")
print("at work", flush=True)
sys.stdin.read()
"""
A_START = """
import sys
from spark import scratch
from settings import load_settings

print(scratch.take(load_settings("local", [f"storage.root={sys.argv[1]}"])), flush=True)
sys.stdin.read()
"""


@contextmanager
def program(text: str, lake: Path, env: dict[str, str] | None = None) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The program at work, and the first line that it has printed."""
    with subprocess.Popen(
        [sys.executable, "-c", text, str(lake)],
        cwd=PROJECT,
        env={**os.environ, **(env or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.integration
def test_a_killed_runs_temporary_files_are_beside_its_lake_and_gone_when_the_next_one_starts(tmp_path: Path) -> None:
    lake, home, machines = tmp_path / "own place" / "lake", tmp_path / "own place" / "scratch", tmp_path / "machine"
    machines.mkdir()
    # Where Java and Python would put them by themselves.
    env = {"TMPDIR": str(machines), "JAVA_TOOL_OPTIONS": f"-Djava.io.tmpdir={machines} -XX:-UsePerfData"}
    with program(A_RUN, lake, env) as (_, said):
        assert said == "at work"
        with program(A_START, lake) as (_, beside):
            left = {path.name.split("-")[0] for path in home.rglob("*")}
            assert {"spark", "blockmgr", "artifacts", "worker"} <= left
    assert list(machines.iterdir()) == []
    killed = [path for path in home.iterdir() if path.is_dir() and path != Path(beside)]
    assert len(killed) == 1
    assert any(path.name == "example" for path in killed[0].rglob("*"))
    with program(A_START, lake) as (_, mine):
        assert {path for path in home.iterdir() if path.is_dir()} == {Path(mine)}
