"""Kafka as a source, from settings."""

from __future__ import annotations

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from features.columns import by_reference
from jobs.runtime.settings import KafkaSettings


def client_options(kafka: KafkaSettings) -> dict[str, str]:
    """Options every client of the broker takes, as librdkafka and Java name them alike."""
    return {"bootstrap.servers": kafka.bootstrap_servers, **kafka.options}


def read_stream(spark: SparkSession, kafka: KafkaSettings) -> DataFrame:
    """The topic as a stream: Kafka's columns and headers."""
    options = {f"kafka.{name}": value for name, value in client_options(kafka).items()}
    return (
        spark.readStream.format("kafka")
        .options(**options)
        .option("subscribe", kafka.topic)
        .option("includeHeaders", "true")
        .option("startingOffsets", kafka.starting_offsets)
        .option("maxOffsetsPerTrigger", kafka.max_offsets_per_trigger)
        .option("failOnDataLoss", str(kafka.fail_on_data_loss).lower())
        .load()
        .withColumn("ingested_at", by_reference(F.current_timestamp(), F.col("partition")))
    )
