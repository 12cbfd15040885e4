"""What the streaming jobs tell Prometheus, at ``metrics.host``:``metrics.port`` of the driver (port 0: nothing).

Spark's own progress gives rates, lag and the seconds of a batch; the jobs add what only they know: records rejected by
reason, rows scored and flagged, the delay from an event's arrival to its score, and the model in use. A dashboard and
alert rules for these names are in ``docs/deploy/monitoring``.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from prometheus_client import Counter, Gauge, Histogram, start_http_server
from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming.listener import (
    QueryIdleEvent,
    QueryProgressEvent,
    QueryStartedEvent,
    QueryTerminatedEvent,
    StreamingQueryListener,
)
from typing_extensions import override

from features.errors import EnvironmentProblem
from settings import MetricsSettings

RUNNING = Gauge("behavior_query_running", "1 while the query runs, 0 after it has ended", ["query"])
INPUT_RATE = Gauge("behavior_input_rows_per_second", "rows that arrive at the query", ["query"])
PROCESSED_RATE = Gauge("behavior_processed_rows_per_second", "rows that the query works off", ["query"])
BATCH_ROWS = Gauge("behavior_batch_rows", "rows of the newest micro-batch", ["query"])
BATCH_NUMBER = Gauge("behavior_batch_number", "number of the newest micro-batch", ["query"])
BATCH_TIME = Gauge("behavior_batch_time_seconds", "when the newest micro-batch began, seconds since 1970", ["query"])
BATCH_STEPS = Gauge("behavior_batch_step_seconds", "seconds of the newest micro-batch by step", ["query", "step"])
LAG = Gauge("behavior_kafka_lag_offsets", "offsets that wait to be read", ["query", "topic", "partition"])
REJECTED = Counter("behavior_rejected_records", "records that are no event, by reason", ["reason"])
SCORED = Counter("behavior_scored_rows", "rows scored, by verdict", ["verdict"])
MODEL = Gauge("behavior_model_version", "1 for the model version that scores", ["model", "version"])
DELAY = Histogram(
    "behavior_score_delay_seconds",
    "from Kafka's receipt of a row's newest event to its score, the slowest row of each micro-batch",
    buckets=(1, 2, 3, 5, 8, 12, 20, 30, 60, 120, 300, 900, 3600),
)

VERDICTS = ("normal", "anomaly", "insufficient_data")


def serve(spark: SparkSession, settings: MetricsSettings) -> None:
    """Answer Prometheus from this process, once for a process and a session; nothing where the port is 0.

    Raises:
        EnvironmentProblem: the port is taken.
    """
    if not settings.port or spark in _SERVED:
        return
    if not _SERVED:
        try:
            start_http_server(settings.port, settings.host)
        except OSError as error:
            raise EnvironmentProblem(
                f"Metrics cannot be served at {settings.host}:{settings.port} ({error.strerror}). "
                "Choose another metrics.port, or 0 for none."
            ) from None
    spark.streams.addListener(Listener())
    _SERVED.append(spark)


_SERVED: list[SparkSession] = []


class Listener(StreamingQueryListener):
    """Turns Spark's progress events into series."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    @override
    def onQueryStarted(self, event: QueryStartedEvent) -> None:
        name = event.name or str(event.id)
        self._names[str(event.id)] = name
        RUNNING.labels(name).set(1)

    @override
    def onQueryProgress(self, event: QueryProgressEvent) -> None:
        take_progress(json.loads(event.progress.json))

    @override
    def onQueryIdle(self, event: QueryIdleEvent) -> None:
        """An idle query has nothing to say."""

    @override
    def onQueryTerminated(self, event: QueryTerminatedEvent) -> None:
        name = self._names.pop(str(event.id), str(event.id))
        RUNNING.labels(name).set(0)


def take_progress(progress: Mapping[str, Any]) -> None:
    """Set the series of one query from its progress, as Spark writes it in JSON."""
    name = progress["name"] or progress["id"]
    INPUT_RATE.labels(name).set(float(progress.get("inputRowsPerSecond") or 0.0))
    PROCESSED_RATE.labels(name).set(float(progress.get("processedRowsPerSecond") or 0.0))
    BATCH_ROWS.labels(name).set(progress["numInputRows"])
    BATCH_NUMBER.labels(name).set(progress["batchId"])
    BATCH_TIME.labels(name).set(_seconds(progress["timestamp"]))
    for step, milliseconds in progress.get("durationMs", {}).items():
        BATCH_STEPS.labels(name, step).set(milliseconds / 1000)
    for source in progress["sources"]:
        for (topic, partition), waiting in lag_of(source).items():
            LAG.labels(name, topic, partition).set(waiting)


def lag_of(source: Mapping[str, Any]) -> dict[tuple[str, str], int]:
    """Offsets that wait by topic and partition, of a Kafka source's part of a progress; empty for other sources."""
    latest, read = source.get("latestOffset"), source.get("endOffset")
    if not isinstance(latest, dict) or not isinstance(read, dict):
        return {}
    return {
        (topic, partition): int(offset) - int(read.get(topic, {}).get(partition, 0))
        for topic, partitions in latest.items()
        if isinstance(partitions, dict)
        for partition, offset in partitions.items()
    }


def steps(query: str, seconds: Mapping[str, float]) -> None:
    """Seconds of the newest batch's steps, as the job itself names them."""
    for step, duration in seconds.items():
        BATCH_STEPS.labels(query, step).set(duration)


def rejected(reasons: pa.ChunkedArray, duplicates: int) -> None:
    """Count the records of a batch that are no event; ``reasons`` is null for the others."""
    for count in pc.value_counts(reasons.drop_null()).to_pylist():
        REJECTED.labels(count["values"]).inc(count["counts"])
    REJECTED.labels("duplicate_event_id").inc(duplicates)


def observed(rows: DataFrame) -> DataFrame:
    """``rows`` of the scores table; once they are written their verdicts and the slowest one's delay are counted.

    Spark counts while it writes, without a second pass. A batch that is not written, since it was before, is never
    counted: the thread that waits for it ends with the process.
    """
    observation = Observation("scored_rows")
    waited = F.unix_micros("scored_at") - F.unix_micros("last_received_at")
    verdicts = [F.count_if(F.col("verdict") == name).alias(name) for name in VERDICTS]
    seen = rows.observe(observation, F.max(waited).alias("slowest"), *verdicts)
    threading.Thread(target=_count, args=(observation,), name="scored rows", daemon=True).start()
    return seen


def _count(observation: Observation) -> None:
    values = observation.get
    scored({verdict: values[verdict] for verdict in VERDICTS}, values["slowest"])


def scored(verdicts: Mapping[str, int], slowest: int | None) -> None:
    """Count rows scored by verdict; ``slowest`` are most microseconds from a row's newest event to its score."""
    for verdict, rows in verdicts.items():
        SCORED.labels(verdict).inc(rows)
    if slowest is not None:
        DELAY.observe(max(0.0, slowest / 1e6))


def model(name: str, version: str) -> None:
    """Say which version scores from now on."""
    MODEL.clear()
    MODEL.labels(name, version).set(1)


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
