"""Delay from the moment an event is produced until a reader of table ``scores`` can see it counted, under steady load.

Every event of the load is looked up: it is visible with the first commit of ``scores`` that holds a revision of its
user's minute as new as the event. The floor is a query with nothing in it, Kafka to Delta as it is; floor and platform
have their turns at each rate in one session, each alone on the machine. An event's time is Kafka's own time stamp,
which the producer sets; a commit's is that of its file in the table's log.

Alerts are raised meanwhile, as in a run. Of each one's first revision it is told how long after the newest event of the
minute that was flagged it was in Kafka, and at a webhook on this machine.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from matplotlib.figure import Figure
from pyspark.sql import SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from alerts.stream import AlertStream
from benchmarks._environments import PROJECT
from benchmarks.report import Cell, Table
from features.tables import EVENTS, FEATURE_TABLE, SCORES
from kafka import source as kafka_source
from lake import log
from lake.folders import ArrowFolder
from lake.location import file_system
from lake.log import CommitFollower
from lake.spark_tables import Lake
from local.broker import EmbeddedBroker
from pipeline import one_pass
from registry.configured import registry_of
from settings import Settings, load_settings
from spark.session import spark_session
from training.model import fit
from training.summary import describe

TOPIC, FLOOR_TOPIC, ALERTS_TOPIC, PARTITIONS = "bench", "floor", "user_behavior_alerts", 4
GOALS = {1_000: 1.5, 5_000: 2.0}
ALERT_GOAL = 1.2
SECONDS_BETWEEN = 20
"""A user acts every so many seconds: it makes the number of users of a rate."""
LEARNED_RATE = 200
LEARNED_SECONDS = 900
"""The champion knows sessions as long as those of the load, else every user of it would become strange in time."""
LEVELS = (50, 95, 99)


def run(quick: bool, folder: Path) -> list[Table]:
    """See the module's text."""
    rates, warm, hold, floor_hold = ([500], 8.0, 15.0, 8.0) if quick else ([100, 1_000, 5_000], 10.0, 120.0, 20.0)
    with EmbeddedBroker(folder / "kafka", folder / "logs") as broker, Receiver(folder) as receiver:
        for topic in (TOPIC, FLOOR_TOPIC, ALERTS_TOPIC):
            broker.create_topic(topic, PARTITIONS)
        settings = load_settings(
            "local",
            [
                f"alerts.webhook={receiver.address}",
                f"storage.root={folder}/lake", f"storage.checkpoints={folder}/checkpoints",
                f"kafka.bootstrap_servers={broker.bootstrap_servers}", f"kafka.topic={TOPIC}",
                f"model.tracking_uri=sqlite:///{folder}/mlflow.db", "spark.master=local[2]",
            ],
        )  # fmt: skip
        spark = spark_session(settings)
        spark.sparkContext.setLogLevel("ERROR")
        try:
            lake = Lake(spark, settings.storage.root)
            lake.create()
            _learn(spark, lake, settings)
            delays, alerts = {}, {}
            for rate in rates:
                floor = _floor(spark, settings, folder, rate, warm, floor_hold)
                began = time.time()
                delays[rate] = (floor, _ours(spark, lake, settings, rate, warm, hold))
                alerts[rate] = _alerts(lake, settings, receiver, began + warm)
        finally:
            spark.stop()
    _draw(delays, folder / "delay.png")
    return [_table(delays, hold, floor_hold), _of_alerts(delays, alerts)]


def _learn(spark: SparkSession, lake: Lake, settings: Settings) -> None:
    """A champion of users who do as those of the load, which warms Java up as well."""
    run = one_pass.start(spark, lake, settings)
    _send(settings, TOPIC, LEARNED_RATE, LEARNED_SECONDS, LEARNED_RATE * SECONDS_BETWEEN, "past")
    _drained(run.query)
    run.stop()
    rows = lake.read(FEATURE_TABLE).where("session_events >= 2").drop("batch_time", "batch_id").toPandas()
    model, registry = fit(rows), registry_of(settings)
    version = registry.log_and_register(model, describe(model, rows, days=0.1), rows.head(500))
    registry.promote(version, why="benchmark")
    run = one_pass.start(spark, lake, settings, once=True)
    run.query.awaitTermination()
    run.catch_up()
    run.stop()


def _ours(
    spark: SparkSession, lake: Lake, settings: Settings, rate: int, warm: float, hold: float
) -> np.ndarray[Any, Any]:
    """Seconds until each event of the time that counts was visible."""
    before = lake.version(SCORES)
    run, alerting = one_pass.start(spark, lake, settings), AlertStream(settings)
    run.when_scored(alerting.wake)
    alerting.start()
    began = time.time()
    _send(settings, TOPIC, rate, warm + hold, users=rate * SECONDS_BETWEEN)
    _drained(run.query)
    run.stop()
    alerting.drain(seconds=600)
    alerting.stop()
    seen = visible(Path(lake.path(SCORES)), ["user_id", "window_start", "last_received_at"], after=before)
    events = visible(Path(lake.path(EVENTS)), ["user_id", "timestamp", "received_at"], after=-1)
    events = events[events["received_at"] >= _micros(began + warm)]
    events["window_start"] = events["timestamp"] // 60_000_000 * 60_000_000
    joined = pd.merge_asof(
        events.drop(columns="seen").sort_values("received_at"),
        seen.sort_values(["last_received_at", "seen"]).rename(columns={"last_received_at": "newest"}),
        left_on="received_at", right_on="newest", by=["user_id", "window_start"], direction="forward",
    )  # fmt: skip
    if joined["seen"].isna().any():
        raise AssertionError(f"{int(joined['seen'].isna().sum())} events have no score")
    return np.asarray((joined["seen"] - joined["received_at"]) / 1e6)


def _floor(
    spark: SparkSession, settings: Settings, folder: Path, rate: int, warm: float, hold: float
) -> np.ndarray[Any, Any]:
    """The same for a query that does nothing."""
    source = settings.kafka.model_copy(update={"topic": FLOOR_TOPIC, "starting_offsets": "latest"})
    target = folder / f"floor-{rate}"
    writer = kafka_source.read_stream(spark, source).writeStream.format("delta")
    query = writer.option("checkpointLocation", f"{target}-checkpoint").start(str(target))
    query.processAllAvailable()
    began = time.time()
    _send(settings, FLOOR_TOPIC, rate, warm + hold, users=rate * SECONDS_BETWEEN)
    _drained(query)
    rows = visible(target, ["timestamp"], after=-1)
    rows = rows[rows["timestamp"] >= _micros(began + warm)]
    return np.asarray((rows["seen"] - rows["timestamp"]) / 1e6)


def _send(settings: Settings, topic: str, rate: int, seconds: float, users: int, *when: str) -> None:
    command = [sys.executable, "-m", "benchmarks._send", settings.kafka.bootstrap_servers, topic]
    subprocess.run([*command, str(rate), str(seconds), str(users), *when], cwd=PROJECT, check=True)


def _drained(query: StreamingQuery) -> None:
    """Let the query take in what is there, and stop it."""
    query.processAllAvailable()
    query.stop()


def _micros(moment: float) -> int:
    return int(moment * 1e6)


def visible(table: Path, columns: list[str], after: int) -> pd.DataFrame:
    """The rows that commits after a version have added; times are µs since 1970, and so is ``seen``: the commit's."""
    parts = []
    folder = ArrowFolder(file_system(str(table)))
    written = {file.name: file.modified for file in folder.listing(log.LOG)}
    for commit in CommitFollower(folder, after).poll():
        for path in commit.added if commit.appends else ():
            part = pq.read_table(table / path, columns=columns).to_pandas()
            for name in part.select_dtypes(include=["datetime", "datetimetz"]):
                part[name] = pd.to_datetime(part[name], utc=True).astype("datetime64[us, UTC]").astype("int64")
            parts.append(part.assign(seen=_micros(written[Path(log.file_of(commit.version)).name].timestamp())))
    if not parts:
        raise AssertionError(f"{table.name} has no rows after version {after} ({datetime.now().astimezone()})")
    rows: pd.DataFrame = pd.concat(parts, ignore_index=True)
    return rows


def _table(delays: dict[int, tuple[Any, Any]], hold: float, floor_hold: float) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for rate, (floor, ours) in delays.items():
        least = [float(np.percentile(floor, level)) for level in LEVELS]
        most = [float(np.percentile(ours, level)) for level in LEVELS]
        rows.append((f"{rate:,} events/s: empty Kafka to Delta", *least, None, len(floor)))
        rows.append((f"{rate:,} events/s: this project", *most, most[1] / least[1], len(ours)))
    return Table(
        "Delay from produce to a visible score row, seconds",
        ("load", *(f"p{level}" for level in LEVELS), "p95, times the floor's", "events"),
        tuple(rows),
        (
            f"Held for {hold:.0f} s ({floor_hold:.0f} s for the floor) after a start that does not count.",
            "The goal: a p95 of at most "
            + ", ".join(f"{goal} times the floor's at {rate:,} events/s" for rate, goal in GOALS.items())
            + ".",
        ),
    )


def _alerts(lake: Lake, settings: Settings, receiver: Receiver, since: float) -> dict[str, np.ndarray[Any, Any]]:
    """By receiver the seconds from the newest event of what was flagged to the alert's arrival."""
    columns = ["user_id", "verdict", "last_received_at"]
    scores = visible(Path(lake.path(SCORES)), columns, after=-1)
    flagged = scores[(scores["verdict"] == "anomaly") & (scores["last_received_at"] >= _micros(since))]
    flagged = flagged.sort_values("seen")
    found = {}
    for name, arrived in (("Kafka", _in_kafka(settings)), ("webhook", receiver.arrived)):
        rows = pd.DataFrame(arrived, columns=["user_id", "arrived"]).sort_values("arrived")
        joined = pd.merge_asof(
            rows[rows["arrived"] >= _micros(since)], flagged, left_on="arrived", right_on="seen", by="user_id"
        )
        found[name] = np.asarray((joined["arrived"] - joined["last_received_at"]).dropna() / 1e6)
    return found


def _in_kafka(settings: Settings) -> list[tuple[str, int]]:
    """Of each alert's first revision in the topic whose it is, and when it was written, in µs."""
    consumer = Consumer({"bootstrap.servers": settings.kafka.bootstrap_servers, "group.id": "bench"})
    found = []
    try:
        consumer.assign([TopicPartition(ALERTS_TOPIC, number, OFFSET_BEGINNING) for number in range(PARTITIONS)])
        while message := consumer.poll(5):
            alert = json.loads(message.value() or b"{}")
            if alert.get("revision") == 1:
                found.append((str(alert["user_id"]), 1000 * message.timestamp()[1]))
    finally:
        consumer.close()
    return found


class Receiver:
    """A webhook on this machine, in a process of its own, as the receivers of alerts are."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "arrived.jsonl"
        self._file.touch()

    @property
    def arrived(self) -> list[tuple[str, int]]:
        """Whose first revisions have come, and when, in µs."""
        lines = self._file.read_text(encoding="utf-8").splitlines()
        return [(user, micros) for user, micros in map(json.loads, lines)]

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "benchmarks._receive", str(self._file)]
        self._process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.address = f"http://127.0.0.1:{int(self._process.stdout.readline())}/alerts"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


def _of_alerts(delays: dict[int, tuple[Any, Any]], alerts: dict[int, dict[str, Any]]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for rate, found in alerts.items():
        ours = float(np.percentile(delays[rate][1], 95))
        for name, values in found.items():
            if len(values):
                most = [float(np.percentile(values, level)) for level in LEVELS]
                rows.append((f"{rate:,} events/s: {name}", *most, most[1] / ours, len(values)))
    return Table(
        "From an event to the alert that it raised, seconds",
        ("load", *(f"p{level}" for level in LEVELS), "p95, times the delay's", "alerts"),
        tuple(rows),
        (f"From the newest event of the flagged minute to the alert's first revision. The goal: {ALERT_GOAL} times.",),
    )


def _draw(delays: dict[int, tuple[Any, Any]], path: Path) -> None:
    figure = Figure(figsize=(8, 3))
    axis = figure.subplots()
    for shade, (rate, (floor, ours)) in zip(("0.3", "0.6", "0.9"), delays.items(), strict=False):
        for values, style, name in ((ours, "-", "this project"), (floor, ":", "floor")):
            axis.plot(
                np.sort(values), np.linspace(0, 1, len(values)), style,
                color=(0.1, 0.4, 0.75, float(shade)), label=f"{name}, {rate:,}/s",
            )  # fmt: skip
    axis.set_xscale("log")
    axis.set_xlabel("seconds from produce to visible")
    axis.set_ylabel("share of events")
    axis.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
