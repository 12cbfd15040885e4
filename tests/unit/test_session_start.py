"""Ctrl-C while Spark starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
# In a process of its own: that of the tests may have a Spark that they still need.
INTERRUPTED = """
import subprocess
from unittest import mock
from pyspark.sql import SparkSession
from jobs.runtime.session import spark_session
from jobs.runtime.settings import load_settings

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
