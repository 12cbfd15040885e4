"""Validating every record against copying it: events per second from Kafka into Delta, same topic, same session.

The copy is what one writes in ten lines: the Kafka source, Delta's own sink, nothing looked at. Ingest reads the same
records, validates each, finds repeated ids, and writes them with their bytes to one of two tables. In the flood each
record is one that the compiled pass leaves to the validator in Python.
"""

from __future__ import annotations

import json
import random
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from benchmarks._lake import moved, settings_in
from benchmarks.report import Table
from features.tables import ERASURES, EVENTS, LEDGER_GAPS, REJECTED_EVENTS
from jobs import ingest_events
from kafka import source
from kafka.producer import EventProducer
from lake.spark_tables import Lake
from local.broker import EmbeddedBroker
from settings import Settings
from spark.session import spark_session

BARE, OURS, FLOOD = "bare Kafka to Delta copy", "ingest_events", "flood: ingest_events, every record doubtful"
TOPIC, FLOOD_TOPIC = "bench", "flood"
PARTITIONS = 4
STRANGE = 0.01
"""Share of records that are no events."""


def run(quick: bool, folder: Path) -> list[Table]:
    """Fill a topic once, then copy and ingest it in turn, each time from its start into new tables."""
    records, rounds, batches = (60_000, 3, 2) if quick else (400_000, 5, 4)
    with EmbeddedBroker(folder / "kafka", folder / "logs") as broker:
        for topic in (TOPIC, FLOOD_TOPIC):
            broker.create_topic(topic, PARTITIONS)
        size = _fill(broker.bootstrap_servers, records)
        _fill(broker.bootstrap_servers, records, doubtful=True)
        settings = settings_in(
            folder, f"kafka.bootstrap_servers={broker.bootstrap_servers}", f"kafka.topic={TOPIC}",
            f"kafka.max_offsets_per_trigger={records // batches}", "spark.driver_memory=2g",
        )  # fmt: skip
        spark = spark_session(settings)
        spark.sparkContext.setLogLevel("ERROR")
        contestants: dict[str, Callable[[SparkSession, Settings], StreamingQuery]] = {
            BARE: _copy, OURS: _ingest, FLOOD: _flood
        }  # fmt: skip
        seconds: dict[str, list[float]] = {name: [] for name in contestants}
        for number in range(rounds + 1):
            for name, work in contestants.items():
                chosen = moved(settings, folder / f"{number}-{name.split()[0].strip(':')}")
                Lake(spark, chosen.storage.root).create(EVENTS, REJECTED_EVENTS, ERASURES, LEDGER_GAPS)
                began = time.perf_counter()
                work(spark, chosen).awaitTermination()
                elapsed = time.perf_counter() - began
                if (rows := _rows(spark, chosen, name)) != records:
                    raise AssertionError(f"{name} wrote {rows} rows of {records} records")
                if number:  # the first round warms Java up
                    seconds[name].append(elapsed)
        spark.stop()
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    bare = medians[BARE]
    rows_of = tuple(
        (name, records / median, bare / median, min(seconds[name]), max(seconds[name]))
        for name, median in medians.items()
    )
    return [
        Table(
            f"{records:,} records of {size:.0f} bytes in {batches} micro-batches, {STRANGE:.0%} of them no events",
            ("", "events/s", "to the copy", "fastest s", "slowest s"),
            rows_of,
            (
                f"Medians of {rounds} rounds in turn, after one that warms up; the goal is 0.6 of the copy.",
                f"The flood has {medians[OURS] / medians[FLOOD]:.2f} of the rate of {OURS}; the goal is 0.1.",
            ),
        )
    ]


def _fill(servers: str, records: int, *, doubtful: bool = False) -> float:
    """Events of many shapes, as apps send them; returns their mean length in bytes.

    Where ``doubtful``, half of them have a number with an exponent, and half are cut off.
    """
    chance, start, size = random.Random(1), datetime(2026, 3, 1, tzinfo=UTC), 0
    with EventProducer(servers, FLOOD_TOPIC if doubtful else TOPIC) as producer:
        for number in range(records):
            user = f"user-{chance.randrange(5_000)}"
            event: dict[str, object] = {
                "user_id": user,
                "action": chance.choice(["click", "view", "view", "interaction", "search"]),
                "page": f"/shop/{chance.randrange(2_000)}",
                "timestamp": (start + timedelta(milliseconds=number)).isoformat(timespec="milliseconds"),
                "event_id": f"{number:032x}",
                "session_id": f"{user}-{number // 10_000}",
            }
            if number % 3 == 0:
                event["properties"] = {"referrer": "https://example.org/über", "price": "19.90", "variant": "B"}
            if number % 5 == 0:
                event["screen"] = [1920, 1080]
            if doubtful:
                event["weight"] = 1e-7
            value = b"no event" if chance.random() < STRANGE else json.dumps(event, ensure_ascii=False).encode()
            if doubtful and number % 2:
                value = value[:-1]
            size += len(value)
            producer.send_raw(value, user.encode())
    return size / records


def _copy(spark: SparkSession, settings: Settings) -> StreamingQuery:
    stream = source.read_stream(spark, settings.kafka).writeStream.format("delta").trigger(availableNow=True)
    return stream.option("checkpointLocation", f"{settings.storage.checkpoints}/copy").start(_copied(settings))


def _ingest(spark: SparkSession, settings: Settings) -> StreamingQuery:
    return ingest_events.start(spark, Lake(spark, settings.storage.root), settings, once=True)


def _flood(spark: SparkSession, settings: Settings) -> StreamingQuery:
    kafka = settings.kafka.model_copy(update={"topic": FLOOD_TOPIC})
    return _ingest(spark, settings.model_copy(update={"kafka": kafka}))


def _rows(spark: SparkSession, settings: Settings, name: str) -> int:
    if name == BARE:
        return spark.read.format("delta").load(_copied(settings)).count()
    lake = Lake(spark, settings.storage.root)
    return lake.read(EVENTS).count() + lake.read(REJECTED_EVENTS).count()


def _copied(settings: Settings) -> str:
    return f"{settings.storage.root}/copy"
