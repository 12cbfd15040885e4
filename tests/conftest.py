"""One Spark session for the whole run."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from pyspark.sql import SparkSession

from jobs.runtime.session import spark_session
from jobs.runtime.settings import load_settings

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    """Local Spark with Delta and Kafka connectors, small."""
    os.environ["PYSPARK_PYTHON"] = sys.executable
    small = ["spark.master=local[2]", "spark.shuffle_partitions=2", "spark.driver_memory=3g"]
    # Tests run many plans once each: the quick compiler alone is faster than waiting for the thorough one.
    small += ["spark.conf={spark.driver.extraJavaOptions: -XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=512m}"]
    session = spark_session(load_settings("local", small))
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()


def pytest_configure(config: pytest.Config) -> None:
    hypothesis.settings.register_profile("busy machine", deadline=None)
    hypothesis.settings.load_profile("busy machine")
    os.environ.setdefault("BEHAVIOR_CONF_DIR", str(PROJECT / "conf"))
