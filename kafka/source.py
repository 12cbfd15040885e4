"""Kafka as a source, from settings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from features.columns import by_reference
from features.ledger import Partition, Range
from kafka.connection import ALLOWED_URLS, java_options
from settings import KafkaSettings

ATTEMPTS = 3
"""How often Spark asks for offsets, each time with a new client."""
REQUEST_SECONDS = 30
NEAR = 1_024
"""Offsets that are looked up together."""
FETCH_WAIT_MS = 50
"""A consumer asks for more ahead of need, and where there is no more the broker holds its answer so long (by default
500 ms): a micro-batch that begins meanwhile waits for it."""


def read_stream(spark: SparkSession, kafka: KafkaSettings) -> DataFrame:
    """The topics as a stream: Kafka's columns and headers.

    A broker that is away is waited for, ``kafka.away_seconds`` in all, and then the stream goes on where it was.
    """
    reader = (
        spark.readStream.format("kafka")
        .options(**_connection(spark, kafka), **subscription(kafka), **beginning(kafka))
        .option("kafka.fetch.max.wait.ms", FETCH_WAIT_MS)
        .option("maxOffsetsPerTrigger", kafka.max_offsets_per_trigger)
        .option("failOnDataLoss", str(kafka.fail_on_data_loss).lower())
    )
    if kafka.min_partitions is not None:
        reader = reader.option("minPartitions", kafka.min_partitions)
    return reader.load().withColumn("ingested_at", by_reference(F.current_timestamp(), F.col("partition")))


def read_ranges(spark: SparkSession, kafka: KafkaSettings, offsets: Mapping[Partition, Sequence[Range]]) -> DataFrame:
    """Records at these ``offsets``, which Kafka must still have: its columns and headers.

    A partition is read from the first of its offsets to the last, and what lies between its ranges is left out.
    """
    assigned: dict[str, list[int]] = {}
    begin: dict[str, dict[int, int]] = {}
    end: dict[str, dict[int, int]] = {}
    for (topic, partition), ranges in offsets.items():
        assigned.setdefault(topic, []).append(partition)
        begin.setdefault(topic, {})[partition] = min(r.first for r in ranges)
        end.setdefault(topic, {})[partition] = max(r.until for r in ranges)
    records = (
        spark.read.format("kafka")
        .options(**_connection(spark, kafka), assign=json.dumps(assigned))
        .option("startingOffsets", json.dumps(begin))
        .option("endingOffsets", json.dumps(end))
        .load()
    )
    rows = [(topic, number, r.first, r.until) for (topic, number), ranges in offsets.items() for r in ranges]
    named = spark.createDataFrame(rows, "topic string, partition int, first bigint, until bigint")
    # A record is compared with the ranges near to it: with all of its partition, thousands of gaps would take hours.
    near = f"explode(sequence(first DIV {NEAR}, (until - 1) DIV {NEAR})) AS near"
    spans = F.broadcast(named.selectExpr("*", near).alias("spans"))
    same = f"r.topic = spans.topic AND r.partition = spans.partition AND offset DIV {NEAR} = near"
    return records.alias("r").join(spans, F.expr(f"{same} AND offset >= first AND offset < until"), "left_semi")


def _connection(spark: SparkSession, kafka: KafkaSettings) -> dict[str, str]:
    if kafka.oauth_token_url is not None:
        jvm = spark.sparkContext._jvm  # noqa: SLF001
        assert jvm is not None
        jvm.java.lang.System.setProperty(ALLOWED_URLS, kafka.oauth_token_url)
    own = {f"kafka.{name}": value for name, value in java_options(kafka).items()}
    return patience(kafka) | {"kafka.isolation.level": kafka.isolation} | own | {"includeHeaders": "true"}


def subscription(kafka: KafkaSettings) -> dict[str, str]:
    """What is read: the topics that match a pattern, or those named, or the one that apps send to."""
    if kafka.topic_pattern is not None:
        return {"subscribePattern": kafka.topic_pattern}
    return {"subscribe": ",".join(kafka.topics or (kafka.topic,))}


def beginning(kafka: KafkaSettings) -> dict[str, str]:
    """Where a stream without a checkpoint begins. Without a word Spark would begin at the latest record."""
    start = kafka.starting_offsets
    if start in ("earliest", "latest") or start.startswith("{"):
        return {"startingOffsets": start}
    millis = round(datetime.fromisoformat(start).timestamp() * 1000)
    return {"startingTimestamp": str(millis), "startingOffsetsByTimestampStrategy": "latest"}


def patience(kafka: KafkaSettings) -> dict[str, str]:
    """Options by which Spark's driver and executors wait for a broker that is away."""
    each = max(1, kafka.away_seconds // ATTEMPTS)
    return {
        "fetchOffset.numRetries": str(ATTEMPTS),
        "kafkaConsumer.pollTimeoutMs": str(kafka.away_seconds * 1000),
        "kafka.default.api.timeout.ms": str(each * 1000),
        "kafka.request.timeout.ms": str(min(each, REQUEST_SECONDS) * 1000),
    }
