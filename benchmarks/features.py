"""Catch-up of build_features against a plain ``groupBy(user, minute)`` of the same events, from Delta to Delta.

The plain job counts events, actions and pages per user and minute and writes them: no sessions, no look-back, no late
events, nothing exactly once. Both take turns in one session, and medians are quoted.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from benchmarks._lake import Usage, session, settings_in, write_events
from benchmarks.report import Table
from features.columns import minute_of
from features.tables import EVENTS, FEATURE_TABLE, TILES
from jobs import build_features
from jobs.runtime.lake import Lake
from jobs.runtime.settings import Settings

GOAL = 0.5
FILES_A_COMMIT = 4


def run(quick: bool, folder: Path) -> list[Table]:
    """See the module's text."""
    events, users, hours, commits, rounds = (100_000, 2_000, 4, 2, 2) if quick else (2_000_000, 20_000, 8, 4, 3)
    spark = session(folder)
    settings = settings_in(folder, f"stream.max_files_per_trigger={FILES_A_COMMIT}")
    lake = Lake(spark, settings.storage.root)
    write_events(lake, events, users, hours, commits)
    contestants: dict[str, Callable[[], int]] = {
        "plain groupBy(user, minute)": lambda: grouped(lake, folder / "plain"),
        f"build_features --once, {commits} micro-batches": lambda: built(spark, lake, settings),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    written: dict[str, int] = {}
    usage = Usage()
    with usage.watched():
        for number in range(rounds + 1):
            for name, work in contestants.items():
                began = time.perf_counter()
                written[name] = work()
                if number:  # the first round warms up
                    seconds[name].append(time.perf_counter() - began)
    plain = median(next(iter(seconds.values())))
    rows = tuple(
        (name, written[name], median(taken), events / median(taken), plain / median(taken))
        for name, taken in seconds.items()
    )
    return [
        Table(
            f"{events:,} events of {users:,} users in {hours} hours to rows per user and minute (goal: {GOAL})",
            ("job", "rows written", "s", "events/s", "of the plain job's rate"),
            rows,
            (f"Peak memory of Python and Java together: {usage.peak:,.0f} MB.",),
        )
    ]


def grouped(lake: Lake, path: Path) -> int:
    """What one would write without the platform; returns rows."""
    shutil.rmtree(path, ignore_errors=True)
    action = F.col("action")
    (
        lake.read(EVENTS)
        .groupBy("user_id", minute_of(F.col("timestamp")).alias("minute"))
        .agg(
            F.count(F.lit(1)).alias("events"),
            *[F.count_if(action == name).alias(name) for name in ("click", "view", "interaction")],
            F.count_distinct("page").alias("pages"),
        )
        .write.format("delta")
        .save(str(path))
    )
    return int(lake.spark.read.format("delta").load(str(path)).count())


def built(spark: SparkSession, lake: Lake, settings: Settings) -> int:
    """The platform's own job, from an empty checkpoint; returns revisions."""
    for table in (TILES, FEATURE_TABLE):
        shutil.rmtree(lake.path(table), ignore_errors=True)
    shutil.rmtree(settings.storage.checkpoints, ignore_errors=True)
    lake.create(TILES, FEATURE_TABLE)
    build_features.start(spark, lake, settings, once=True).awaitTermination()
    return lake.read(FEATURE_TABLE).count()
