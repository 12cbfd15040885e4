"""The whole way with one core and two, and with few and many partitions of the topic: rate, and memory beside it.

Each line is a driver of its own, started cold: its first catch-up warms Java up, the second counts. Spark is given so
many cores by ``local[n]``; the broker and the sampling of memory have what is left.
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

GOAL = 0.9


@dataclass(frozen=True)
class CatchUp:
    """One driver's second catch-up."""

    cores: int
    partitions: int
    seconds: float
    processor: float
    peak: float


def run(quick: bool, folder: Path) -> list[Table]:
    """See the module's text."""
    events, users = (60_000, 2_000) if quick else (200_000, 10_000)
    plan = [(2, 4), (1, 4)] if quick else [(2, 4), (2, 8), (2, 16), (1, 4)]
    with EmbeddedBroker(folder / "kafka", folder / "logs") as broker:
        for partitions in {partitions for _, partitions in plan}:
            broker.create_topic(f"bench-{partitions}", partitions)
            fill(broker.bootstrap_servers, f"bench-{partitions}", events, users)
        runs = [_caught_up(broker.bootstrap_servers, folder, cores, partitions) for cores, partitions in plan]
    draw(runs, events, folder / "cores.png")
    return [_table(runs, events)]


def _caught_up(servers: str, folder: Path, cores: int, partitions: int) -> CatchUp:
    usage, name = Usage(), f"{cores}-{partitions}"
    with Driver(servers, folder, f"bench-{partitions}", f"spark.master=local[{cores}]") as driver:
        if not (folder / "mlflow.db").exists():
            driver.ask("train")
        driver.ask(f"way {name}-warm")
        with usage.watched():
            seconds = float(driver.ask(f"way {name}")["seconds"])
    return CatchUp(cores, partitions, seconds, usage.cpu[0], usage.peak)


def _table(runs: list[CatchUp], events: int) -> Table:
    base = runs[0]
    rows: list[tuple[Cell, ...]] = [
        (
            f"cores {one.cores}, partitions {one.partitions}",
            events / one.seconds, base.seconds / one.seconds, one.processor, f"{one.peak:,.0f} MB",
        )
        for one in runs
    ]  # fmt: skip
    return Table(
        f"The whole way of {events:,} events with other numbers of cores and partitions",
        ("Spark has", "events/s", "of the first", "processor s", "peak memory"),
        tuple(rows),
        (
            f"One catch-up each, after one that warms up, in micro-batches of up to {BATCH:,} records.",
            f"The goal: with both cores at least {GOAL} of the first, whatever the partitions.",
            "The driver of the first line has trained the champion before that.",
            "Memory and processor seconds are of Python, Java and the broker together.",
        ),
    )


def draw(runs: list[CatchUp], events: int, path: Path) -> None:
    """Rate and memory of each line."""
    figure = Figure(figsize=(9, 3))
    rate, memory = figure.subplots(1, 2)
    names = [f"{one.cores} cores\n{one.partitions} partitions" for one in runs]
    rate.bar(names, [events / one.seconds / 1000 for one in runs], color="#1f6fb2")
    rate.set_ylabel("thousand events per second")
    memory.bar(names, [one.peak / 1000 for one in runs], color="#bbbbbb")
    memory.set_ylabel("peak memory, GB")
    for axis in (rate, memory):
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
