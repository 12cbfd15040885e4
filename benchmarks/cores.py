"""The whole way with one core and two, few and many partitions, and on a standalone cluster: rate and memory.

Each line is a driver of its own, started cold: its first catch-up warms Java up, the second counts. Spark is given so
many cores by ``local[n]``, or two workers of one core each with a Java of their own; the broker and the sampling of
memory have what is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks._lake import Usage
from benchmarks._topic import fill
from benchmarks.report import Cell, Table
from benchmarks.whole_way import BATCH, Driver
from local.broker import EmbeddedBroker

TWO, ONE, CLUSTER = "2 cores", "1 core", "cluster of 2 workers"
MASTERS = {TWO: "local[2]", ONE: "local[1]", CLUSTER: "local-cluster[2,1,2048]"}
GOAL = 0.9


@dataclass(frozen=True)
class CatchUp:
    """One driver's second catch-up."""

    spark: str
    partitions: int
    seconds: float
    processor: float
    peak: float


def run(quick: bool, folder: Path) -> list[Table]:
    """See the module's text."""
    events, users = (60_000, 2_000) if quick else (200_000, 10_000)
    plan = [(TWO, 4), (ONE, 4), (CLUSTER, 4)] if quick else [(TWO, 4), (TWO, 8), (TWO, 16), (CLUSTER, 4), (ONE, 4)]
    with EmbeddedBroker(folder / "kafka", folder / "logs") as broker:
        for partitions in {partitions for _, partitions in plan}:
            broker.create_topic(f"bench-{partitions}", partitions)
            fill(broker.bootstrap_servers, f"bench-{partitions}", events, users)
        runs = [_caught_up(broker.bootstrap_servers, folder, spark, partitions) for spark, partitions in plan]
    draw(runs, events, folder / "cores.png")
    return [_table(runs, events)]


def _caught_up(servers: str, folder: Path, spark: str, partitions: int) -> CatchUp:
    usage, name = Usage(), f"{list(MASTERS).index(spark)}-{partitions}"
    with Driver(servers, folder, f"bench-{partitions}", f"spark.master={MASTERS[spark]}") as driver:
        if not (folder / "mlflow.db").exists():
            driver.ask("train")
        driver.ask(f"way {name}-warm")
        with usage.watched():
            seconds = float(driver.ask(f"way {name}")["seconds"])
    return CatchUp(spark, partitions, seconds, usage.cpu[0], usage.peak)


def _table(runs: list[CatchUp], events: int) -> Table:
    base = runs[0]
    rows: list[tuple[Cell, ...]] = [
        (
            f"{one.spark}; {one.partitions} partitions",
            events / one.seconds, base.seconds / one.seconds, one.processor, f"{one.peak:,.0f} MB",
        )
        for one in runs
    ]  # fmt: skip
    return Table(
        f"The whole way of {events:,} events with other numbers of cores and partitions, and on a cluster",
        ("Spark has", "events/s", "of the first", "processor s", "peak memory"),
        tuple(rows),
        (
            f"One catch-up each, after one that warms up, in micro-batches of up to {BATCH:,} records.",
            f"The goal: with both cores at least {GOAL} of the first, whatever the partitions, and on the cluster.",
            "The driver of the first line has trained the champion before that.",
            "Memory and processor seconds are of Python, Java and the broker together.",
        ),
    )


def draw(runs: list[CatchUp], events: int, path: Path) -> None:
    """Rate and memory of each line."""
    figure = Figure(figsize=(12, 3))
    rate, memory = figure.subplots(1, 2)
    names = [f"{one.spark}\n{one.partitions} partitions" for one in runs]
    rate.bar(names, [events / one.seconds / 1000 for one in runs], color="#1f6fb2")
    rate.set_ylabel("thousand events per second")
    memory.bar(names, [one.peak / 1000 for one in runs], color="#bbbbbb")
    memory.set_ylabel("peak memory, GB")
    for axis in (rate, memory):
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
