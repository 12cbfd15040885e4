"""Catch-up of build_features against a plain ``groupBy(user, minute)`` of the same events, from Delta to Delta.

The plain job counts events, actions and pages per user and minute and writes them: no sessions, no look-back, no late
events, nothing exactly once. Both take turns in one session, and medians are quoted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from pyspark.sql import functions as F

from benchmarks._lake import Usage, session, settings_in, write_events
from benchmarks.report import Table
from features.columns import minute_of
from features.tables import EVENTS, FEATURE_TABLE, TILES
from jobs import build_features
from lake.spark_tables import Lake

GOAL = 0.5
CUT_UP = "stream.max_files_per_trigger=4"
"""One commit a micro-batch."""


def run(quick: bool, folder: Path) -> list[Table]:
    """See the module's text."""
    events, users, hours, commits, rounds = (100_000, 2_000, 4, 2, 2) if quick else (2_000_000, 20_000, 8, 4, 3)
    spark = session(folder)
    lake = Lake(spark, settings_in(folder).storage.root)
    write_events(lake, events, users, hours, commits)
    contestants: dict[str, Callable[[Path], int]] = {
        "plain groupBy(user, minute)": lambda place: grouped(lake, place),
        "build_features --once, as conf/base.yaml has it": lambda place: built(lake, place),
        f"build_features --once in {commits} micro-batches": lambda place: built(lake, place, CUT_UP),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    written: dict[str, int] = {}
    usage = Usage()
    with usage.watched():
        for number in range(rounds + 1):
            for place, (name, work) in enumerate(contestants.items()):
                began = time.perf_counter()
                written[name] = work(folder / f"{number}-{place}")
                if number:  # the first round warms up
                    seconds[name].append(time.perf_counter() - began)
    plain = median(next(iter(seconds.values())))
    rows = tuple(
        (name, written[name], median(times), events / median(times), plain / median(times))
        for name, times in seconds.items()
    )
    return [
        Table(
            f"{events:,} events of {users:,} users in {hours} hours to rows per user and minute (goal: {GOAL})",
            ("job", "rows written", "s", "events/s", "of the plain job's rate"),
            rows,
            (f"Peak memory of Python and Java together: {usage.peak:,.0f} MB.",),
        )
    ]


def grouped(lake: Lake, place: Path) -> int:
    """What one would write without the platform, to the folder ``place``; returns rows."""
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
        .save(str(place))
    )
    return int(lake.spark.read.format("delta").load(str(place)).count())


def built(lake: Lake, place: Path, *limits: str) -> int:
    """The platform's own job, on the same events but with tables and a checkpoint of its own; returns revisions.

    As conf has it, all that waits is one micro-batch. Cut up by ``limits``, each reads again what the ones before have
    made of its users' past.
    """
    settings = settings_in(place, *limits)
    own = Lake(lake.spark, settings.storage.root)
    Path(own.root).mkdir(parents=True)
    Path(own.path(EVENTS)).symlink_to(lake.path(EVENTS))
    own.create(TILES, FEATURE_TABLE)
    build_features.start(lake.spark, own, settings, once=True).awaitTermination()
    return own.read(FEATURE_TABLE).count()
