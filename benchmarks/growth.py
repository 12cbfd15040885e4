"""Does a micro-batch of build_features cost the same on day 1 and day 1,000, with few users and with many?

The same batch is built on lakes that differ in users or in history, one lake after the other in every round, so that
whatever else the machine does meets all of them; medians are quoted. History 1 is as long as the look-back, below
which a batch has less to read than it needs; tiles are as ``maintain_tables`` leaves them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from statistics import median

from matplotlib.figure import Figure
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from benchmarks._lake import Usage, events_of, session, settings_in, write_history
from benchmarks.report import Table
from features.tables import EVENTS, FEATURE_TABLE, IDENTITIES, TILES
from lake.spark_tables import Lake
from pipeline.build import build
from pipeline.links import KnownLinks
from streams.queries import Batch
from streams.rules import session_rules

GOAL = 1.15
TILES_A_DAY = 5.0
WARM_UP = 2
"""Rounds that are not counted: Java compiles."""


@dataclass
class Place:
    """One lake and what its batches took."""

    users: int
    times: int
    tiles_a_day: float
    lake: Lake
    links: KnownLinks
    tiles: int = 0
    seconds: list[float] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)


def run(quick: bool, folder: Path) -> list[Table]:
    """See the module's text."""
    few, events, users, rounds = (1_000, 2_000, 500, 4) if quick else (10_000, 5_000, 1_000, 5)
    spark = session(folder)
    rules = session_rules(settings_in(folder))
    hours = -(-rules.look_back // 60)
    often, seldom = TILES_A_DAY, TILES_A_DAY / 100
    plan = [(few, 1, often), (few * 10, 1, often), (few * 100, 1, often), (few * 100, 1, seldom)]
    plan += [(few, 10, often), (few, 100, often)]
    places = [_place(spark, folder / f"lake-{n}", *sizes, hours) for n, sizes in enumerate(plan)]
    source = Lake(spark, str(folder / "source"))
    source.create(EVENTS)
    source.append(events_of(spark, events, users, few).coalesce(1), EVENTS, batch_id="source")
    for number in range(rounds + WARM_UP):
        for place in places:
            rows = _later(source.read(EVENTS), timedelta(minutes=2 * number))
            with place.usage.watched():
                began = time.perf_counter()
                build(place.lake, rows, rules, place.links, Batch("growth", number))
                elapsed = time.perf_counter() - began
            if number >= WARM_UP:
                place.seconds.append(elapsed)
    draw(places, folder / "growth.png")
    return [_table(places, events, users, hours)]


def _place(spark: SparkSession, folder: Path, users: int, times: int, tiles_a_day: float, hours: int) -> Place:
    lake = Lake(spark, str(folder))
    lake.create(TILES, FEATURE_TABLE, IDENTITIES)
    write_history(lake, users, hours * times, tiles_a_day)
    return Place(users, times, tiles_a_day, lake, KnownLinks(lake, 60 * hours), lake.read(TILES).count())


def _later(events: DataFrame, by: timedelta) -> DataFrame:
    moved = F.timestamp_micros(F.unix_micros("timestamp") + int(by.total_seconds()) * 1_000_000)
    return events.withColumn("timestamp", moved)


def _table(places: list[Place], events: int, users: int, hours: int) -> Table:
    first, processor = median(places[0].seconds), median(places[0].usage.cpu[WARM_UP:])
    rows = tuple(
        (
            f"{place.users:,} users with {place.tiles_a_day:g} tiles a day, {place.times} x history",
            place.tiles,
            median(place.seconds),
            events / median(place.seconds),
            median(place.seconds) / first,
            median(place.usage.cpu[WARM_UP:]),
            median(place.usage.cpu[WARM_UP:]) / processor,
            f"{place.usage.peak:,.0f} MB",
        )
        for place in places
    )
    return Table(
        f"One batch of {events:,} events by {users:,} users, after growth (goal: at most {GOAL} times the first)",
        (
            "lake",
            "tiles",
            "s per batch",
            "events/s",
            "times the first",
            "processor s",
            "times the first",
            "peak memory",
        ),
        rows,
        (
            f"History 1 is {hours} hours, the look-back: a batch reads all its tiles and keeps its own users'.",
            "Users who act as often as the first make that larger; users who act seldom do not.",
            "Processor seconds are of all processes, and say more than seconds on a machine that does other work.",
            "Memory is that of Python and Java while the lake has its turn; Java gives none back between turns.",
        ),
    )


def draw(places: list[Place], path: Path) -> None:
    """The table as a picture: growth of users to the left, of history to the right."""
    first = median(places[0].seconds)
    figure = Figure(figsize=(9, 3.5))
    axes = figure.subplots(1, 2, sharey=True)
    groups = [
        ("users", [(p.users, p) for p in places if p.times == 1 and p.tiles_a_day == TILES_A_DAY]),
        ("history, times the look-back", [(p.times, p) for p in places if p.users == places[0].users]),
    ]
    for axis, (name, group) in zip(axes, groups, strict=True):
        axis.plot([x for x, _ in group], [median(p.seconds) for _, p in group], marker="o")
        axis.axhline(GOAL * first, linestyle="--", color="grey", linewidth=1)
        axis.set_xscale("log")
        axis.set_xlabel(name)
    axes[0].set_ylabel("seconds per micro-batch")
    axes[0].set_ylim(bottom=0)
    figure.suptitle(f"The same batch after growth; dashed: {GOAL} times the first")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
