"""The whole way with one core and two, few and many partitions of the topic, in one process and on a cluster.

Each line is a driver of its own, started cold: some catch-ups warm Java up, the next one counts. Spark is given so
many cores by ``local[n]``, or by so many workers of a standalone cluster; the broker and the sampling of memory have
what is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks._cluster import EXECUTOR_MEMORY, standalone_cluster
from benchmarks._lake import Usage
from benchmarks._topic import fill
from benchmarks.report import Cell, Table
from benchmarks.whole_way import BATCH, PARTITIONS, Driver
from local.broker import EmbeddedBroker

GOAL, WORKERS = 0.9, 2
WARM_UPS = 4
"""Catch-ups before the one that counts: workers are Javas of their own, each of which compiles for itself."""


@dataclass(frozen=True)
class CatchUp:
    """One driver's catch-up once it is warm."""

    place: str
    partitions: int
    seconds: float
    processor: float
    peak: float


def run(quick: bool, folder: Path) -> list[Table]:
    """See the module's text."""
    events, users = (60_000, 2_000) if quick else (200_000, 10_000)
    plan = [(2, 4), (1, 4)] if quick else [(2, 4), (2, 8), (2, 16), (1, 4)]
    with EmbeddedBroker(folder / "kafka", folder / "logs") as broker:
        servers = broker.bootstrap_servers
        for partitions in {partitions for _, partitions in plan}:
            broker.create_topic(f"bench-{partitions}", partitions)
            fill(servers, f"bench-{partitions}", events, users)
        with Driver(servers, folder, f"bench-{PARTITIONS}", "spark.master=local[2]") as driver:
            driver.ask("train")
        runs = [
            _caught_up(servers, folder, f"cores {cores}", partitions, f"spark.master=local[{cores}]")
            for cores, partitions in plan
        ]
        with standalone_cluster(folder, WORKERS) as settings:
            runs.insert(-1, _caught_up(servers, folder, f"workers {WORKERS}", PARTITIONS, *settings))
    draw(runs, events, folder / "cores.png")
    return [_table(runs, events)]


def _caught_up(servers: str, folder: Path, place: str, partitions: int, *settings: str) -> CatchUp:
    usage, name = Usage(), f"{place.replace(' ', '-')}-{partitions}"
    with Driver(servers, folder, f"bench-{partitions}", *settings) as driver:
        for number in range(WARM_UPS):
            driver.ask(f"way {name}-warm-{number}")
        with usage.watched():
            seconds = float(driver.ask(f"way {name}")["seconds"])
    return CatchUp(place, partitions, seconds, usage.cpu[0], usage.peak)


def _table(runs: list[CatchUp], events: int) -> Table:
    base = runs[0]
    rows: list[tuple[Cell, ...]] = [
        (
            f"{one.place}, partitions {one.partitions}",
            events / one.seconds, base.seconds / one.seconds, one.processor, f"{one.peak:,.0f} MB",
        )
        for one in runs
    ]  # fmt: skip
    return Table(
        f"The whole way of {events:,} events with other numbers of cores and partitions, and on a cluster",
        ("Spark has", "events/s", "of the first", "processor s", "peak memory"),
        tuple(rows),
        (
            f"One catch-up each, after {WARM_UPS} that warm up, in micro-batches of up to {BATCH:,} records.",
            f"The goal: with two cores or two workers at least {GOAL} of the first, whatever the partitions.",
            f"Workers are of a standalone cluster, one core and {EXECUTOR_MEMORY} each; the driver is beside them.",
            "A core of Spark is a thread of Java and a Python worker: with one, two of the machine's are busy.",
            "Memory and processor seconds are of Python, Java and the broker together.",
        ),
    )


def draw(runs: list[CatchUp], events: int, path: Path) -> None:
    """Rate and memory of each line."""
    figure = Figure(figsize=(9, 3))
    rate, memory = figure.subplots(1, 2)
    names = [f"{one.place}\n{one.partitions} partitions" for one in runs]
    rate.bar(names, [events / one.seconds / 1000 for one in runs], color="#1f6fb2")
    rate.set_ylabel("thousand events per second")
    memory.bar(names, [one.peak / 1000 for one in runs], color="#bbbbbb")
    memory.set_ylabel("peak memory, GB")
    for axis in (rate, memory):
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
