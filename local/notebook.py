"""What a notebook begins with: the settings of ``make run``, its tables as pandas frames without Spark, and Spark."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow.dataset as ds
from pyspark.sql import SparkSession

from features.errors import EnvironmentProblem
from features.revisions import latest_in_arrow
from features.tables import Table
from lake import arrow_tables
from settings import PROJECT, Settings, load_settings, local_overrides
from spark.session import spark_session

REVISION = ("batch_time", "batch_id")


def local_folder() -> Path:
    """The folder that ``make run`` keeps everything in: LOCAL, else ``.local`` of the project."""
    return PROJECT / (os.environ.get("LOCAL") or ".local")


def settings_of_run(overrides: Sequence[str] = ()) -> Settings:
    """The settings of ``make run`` on this machine. Elsewhere use ``load_settings("cluster")``."""
    return load_settings("local", [*local_overrides(local_folder()), *overrides])


def frame(
    settings: Settings, table: Table, columns: Sequence[str] | None = None, where: ds.Expression | None = None
) -> pd.DataFrame:
    """Rows of ``table``, of a revised one the newest revision of each, read without Spark.

    ``where`` is a condition on the table's keys, or on what all revisions of a row share.

    Raises:
        EnvironmentProblem: the table is not there or is empty (says what to do), or cannot be read.
    """
    names = list(columns or table.columns)
    needed = dict.fromkeys((*names, *table.keys, *REVISION)) if table.revised else names
    rows = arrow_tables.read(settings.storage.root, table, list(needed), where)
    if not rows.num_rows and where is None:
        raise EnvironmentProblem(
            f"Table {table.name} under {settings.storage.root} has no rows yet: "
            f"run `make run DURATION=180{_named_folder()}` in the project's folder, then this notebook from its top."
        )
    newest = latest_in_arrow(rows, table) if table.revised else rows
    result: pd.DataFrame = newest.select(names).to_pandas()
    return result


def spark_of(settings: Settings) -> SparkSession:
    """Spark for a notebook; its log goes to ``logs/notebooks`` of the run's folder."""
    spark = spark_session(settings, logs=local_folder() / "logs" / "notebooks")
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def _named_folder() -> str:
    local = os.environ.get("LOCAL")
    return f" LOCAL='{local}'" if local and Path(local) != PROJECT / ".local" else ""
