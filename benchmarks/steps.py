"""What each step of the way costs for 100,000 events, beside its floor: the same rows or bytes, nothing worked out.

One Spark session; in every round each step and its floor have their turn on the same input, and medians are quoted.
Steps that only compute go to Spark's sink that throws away, as do their floors; what is written is a step of its own.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from matplotlib.figure import Figure
from pyspark.sql import DataFrame, SparkSession

from benchmarks._lake import moved, settings_in
from benchmarks._topic import fill
from benchmarks.report import Cell, Table
from features.behavior import behavior
from features.tables import ERASURES, EVENTS, FEATURE_TABLE, LEDGER_GAPS, REJECTED_EVENTS, SCORES, TILES
from features.tables import Table as Declared
from features.tiles import fold
from jobs import ingest_events
from kafka import source
from lake.spark_tables import Lake
from local.broker import EmbeddedBroker
from scoring.arrays import Rules
from scoring.champion import LoadedModel
from scoring.frames import score
from settings import Settings
from spark.session import spark_session
from streams import queries
from streams.rules import session_rules
from training.model import fit
from training.summary import describe

TOPIC, PARTITIONS = "bench", 4
UNIT = 100_000
WARM_UP = 1
LEARNED_FROM = 20_000
BATCH = ["batch_time", "batch_id"]


@dataclass(frozen=True)
class Step:
    """A step and its floor; both are called with a folder of their own that is not there yet."""

    name: str
    work: Callable[[Path], None]
    floor_name: str
    floor: Callable[[Path], None]


def run(quick: bool, folder: Path) -> list[Table]:
    """See the module's text."""
    events, users, rounds = (100_000, 4_000, 1) if quick else (300_000, 10_000, 3)
    with EmbeddedBroker(folder / "kafka", folder / "logs") as broker:
        broker.create_topic(TOPIC, PARTITIONS)
        size = fill(broker.bootstrap_servers, TOPIC, events, users)
        settings = settings_in(
            folder, f"kafka.bootstrap_servers={broker.bootstrap_servers}", f"kafka.topic={TOPIC}",
            f"kafka.max_offsets_per_trigger={events}",
        )  # fmt: skip
        spark = spark_session(settings)
        spark.sparkContext.setLogLevel("ERROR")
        try:
            steps = _steps(spark, settings, folder)
            medians = _measure(steps, rounds, folder)
        finally:
            spark.stop()
    _draw(medians, folder / "steps.png", events)
    return [_table(steps, medians, events, size, rounds)]


def _steps(spark: SparkSession, settings: Settings, folder: Path) -> list[Step]:
    base, rules = Lake(spark, str(folder / "base")), session_rules(settings)
    _ingested(spark, settings, folder / "base-way", base)
    _write(base, queries.stamped(fold(base.read(EVENTS)), queries.Batch("bench", 0)), TILES)
    partial = base.read(TILES).drop(*BATCH)
    _write(base, queries.stamped(behavior(partial, rules), queries.Batch("bench", 0)), FEATURE_TABLE)
    rows = base.read(FEATURE_TABLE).drop(*BATCH)
    champion = _champion(rows)
    _write(base, queries.stamped(score(rows, champion, Rules()), queries.Batch("bench", 0)), SCORES)
    names = ["user_id", "timestamp", "page", "action", "session_id", "received_at"]
    used = base.read(EVENTS).select(*names)
    shuffled = partial.repartition("user_id").sortWithinPartitions("user_id", "window_start")
    written = (TILES, FEATURE_TABLE, SCORES)
    return [
        Step(
            "ingest: Kafka to events, validated",
            lambda place: _ingested(spark, settings, place, Lake(spark, f"{place}/lake")),
            "Kafka to Delta, as it is", lambda place: _copied(spark, settings, place),
        ),
        Step(
            "tiles: events folded", lambda _: _thrown_away(fold(used)),
            "the same columns read", lambda _: _thrown_away(used),
        ),
        Step(
            "features: of the tiles", lambda _: _thrown_away(behavior(partial, rules)),
            "tiles shuffled and sorted", lambda _: _thrown_away(shuffled),
        ),
        Step(
            "scoring: with reasons", lambda _: _thrown_away(score(rows, champion, Rules())),
            "the same rows read", lambda _: _thrown_away(rows),
        ),
        Step(
            "writing: tiles, features, scores", lambda place: _rewritten(base, Lake(spark, str(place)), written),
            "their files copied", lambda place: _files_copied(base, place, written),
        ),
    ]  # fmt: skip


def _measure(steps: list[Step], rounds: int, folder: Path) -> dict[str, tuple[float, float]]:
    """Median seconds of every step and of its floor."""
    seconds: dict[tuple[str, str], list[float]] = {}
    for number in range(rounds + WARM_UP):
        for place, step in enumerate(steps):
            for kind, work in (("floor", step.floor), ("step", step.work)):
                target = folder / f"{number}-{place}-{kind}"
                began = time.perf_counter()
                work(target)
                spent = time.perf_counter() - began
                shutil.rmtree(target, ignore_errors=True)
                if number >= WARM_UP:
                    seconds.setdefault((step.name, kind), []).append(spent)
    return {step.name: (median(seconds[step.name, "step"]), median(seconds[step.name, "floor"])) for step in steps}


def _thrown_away(rows: DataFrame) -> None:
    rows.write.format("noop").mode("overwrite").save()


def _write(lake: Lake, rows: DataFrame, table: Declared) -> None:
    lake.create(table)
    lake.append(rows, table, batch_id="bench:0")


def _ingested(spark: SparkSession, settings: Settings, place: Path, lake: Lake) -> None:
    lake.create(EVENTS, REJECTED_EVENTS, ERASURES, LEDGER_GAPS)
    ingest_events.start(spark, lake, moved(settings, place), once=True).awaitTermination()


def _copied(spark: SparkSession, settings: Settings, place: Path) -> None:
    stream = source.read_stream(spark, settings.kafka).writeStream.format("delta").trigger(availableNow=True)
    stream.option("checkpointLocation", f"{place}/checkpoint").start(f"{place}/copy").awaitTermination()


def _rewritten(base: Lake, lake: Lake, tables: tuple[Declared, ...]) -> None:
    for table in tables:
        _write(lake, base.read(table), table)


def _files_copied(base: Lake, place: Path, tables: tuple[Declared, ...]) -> None:
    for table in tables:
        shutil.copytree(base.path(table), place / table.name)


def _champion(rows: DataFrame) -> LoadedModel:
    learned = rows.where("session_events >= 5").limit(LEARNED_FROM).toPandas()
    model = fit(learned)
    return LoadedModel.of("bench", "1", model, describe(model, learned, days=1.0))


def _table(steps: list[Step], medians: dict[str, tuple[float, float]], events: int, size: float, rounds: int) -> Table:
    whole, each = sum(step for step, _ in medians.values()), UNIT / events
    rows: list[tuple[Cell, ...]] = []
    for step in steps:
        ours, floor = medians[step.name]
        rows.append((step.name, ours * each, ours / whole, step.floor_name, floor * each, ours / floor))
    floors = sum(floor for _, floor in medians.values())
    rows.append(("all", whole * each, 1.0, "", floors * each, whole / floors))
    return Table(
        f"Steps: seconds per {UNIT:,} events, from {events:,} events of {size:.0f} bytes in one batch",
        ("step", "s", "share", "its floor", "s", "times the floor"),
        tuple(rows),
        (
            f"Medians of {rounds} rounds in turns after {WARM_UP} that warms up; each step reads its input from Delta.",
            "In the streams tiles are in memory when features are made, and two tables are written at a time.",
            "The floor of writing is a copy of the files, without Spark.",
        ),
    )


def _draw(medians: dict[str, tuple[float, float]], path: Path, events: int) -> None:
    figure = Figure(figsize=(8, 3))
    axis = figure.subplots()
    names = list(medians)[::-1]
    each = UNIT / events
    axis.barh(names, [medians[name][0] * each for name in names], color="#1f6fb2", height=0.6, label="step")
    axis.barh(names, [medians[name][1] * each for name in names], color="#bbbbbb", height=0.25, label="floor")
    axis.set_xlabel(f"seconds per {UNIT:,} events")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
