"""Spark does not come up: Ctrl-C while it starts, no Java, a wrong one, a host without a name."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import PROJECT

# In a process of its own: that of the tests may have a Spark that they still need.
INTERRUPTED = """
import subprocess
from unittest import mock
from pyspark.sql import SparkSession
from spark.session import spark_session
from settings import load_settings

wait = ["sh", "-c", "read line"]
spark = subprocess.Popen([*wait, "org.apache.spark.deploy.SparkSubmit"], stdin=subprocess.PIPE)
other = subprocess.Popen(wait, stdin=subprocess.PIPE)
with mock.patch.object(SparkSession.Builder, "getOrCreate", side_effect=KeyboardInterrupt):
    try:
        spark_session(load_settings("local"))
    except KeyboardInterrupt:
        print("interrupted", spark.wait(30), other.poll())
other.kill()
"""


def test_an_interrupt_while_spark_starts_ends_its_java_and_nothing_else() -> None:
    command = [sys.executable, "-c", INTERRUPTED]
    run = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300, check=False)
    assert run.stdout.split() == ["interrupted", "-9", "None"], run.stderr


@pytest.mark.parametrize("java", [None, "11"])
def test_a_job_without_the_java_it_needs_says_so_in_a_sentence(tmp_path: Path, java: str | None) -> None:
    if java:
        program = tmp_path / "bin" / "java"
        program.parent.mkdir()
        program.write_text(
            f"""#!/bin/sh\necho 'openjdk version "{java}.0.24" 2024-07-16' >&2\ntest "$1" = -version\n"""
        )
        program.chmod(0o755)
    command = [sys.executable, "-m", "jobs.check_ledger", "--env", "local"]
    env = {**os.environ, "JAVA_HOME": str(tmp_path)}
    run = subprocess.run(command, cwd=PROJECT, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 1
    assert "Traceback" not in run.stderr
    found = (
        f'calls itself openjdk version "{java}.0.24"' if java else f"There is no Java at {tmp_path / 'bin' / 'java'}"
    )
    assert found in run.stderr
    assert "set JAVA_HOME" in run.stderr


NAMELESS = """hostname nobody-knows-this-one && exec "$0" -c '
from spark.session import spark_session
from settings import load_settings
print("rows", spark_session(load_settings("local")).range(3).count())'"""


@pytest.mark.integration
def test_spark_starts_on_a_machine_whose_name_nobody_knows() -> None:
    apart = ["unshare", "--user", "--map-root-user", "--uts"]
    if shutil.which("unshare") is None or subprocess.run([*apart, "true"], capture_output=True, check=False).returncode:
        pytest.skip("This machine lets nobody have a host name of his own (unshare --user --uts).")
    env = {name: value for name, value in os.environ.items() if name != "SPARK_LOCAL_IP"}
    command = [*apart, "sh", "-c", NAMELESS, sys.executable]
    run = subprocess.run(command, cwd=PROJECT, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert run.stdout.split() == ["rows", "3"], run.stderr


LIGHT = (
    "backfill_features", "build_features", "check_ledger", "check_parity", "erase_user", "ingest_events",
    "maintain_tables", "raise_alerts", "rebuild_events", "replay_rejected", "unlink_identity",
)  # fmt: skip
"""Jobs without a model. Importing what trains one takes longer than all else that they do before Spark."""
HEAVY = ("mlflow", "sklearn", "matplotlib")


def test_jobs_without_a_model_do_not_wait_for_the_packages_that_train_one() -> None:
    script = f"""
import importlib, sys
for job in {LIGHT}:
    importlib.import_module("jobs." + job)
print(sorted({{name.partition(".")[0] for name in sys.modules}} & set({HEAVY})))
"""
    run = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "[]", run.stderr
