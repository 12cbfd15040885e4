"""Judge every Kafka record: it becomes an event or a rejected record, never both, never neither.

Reads the topic ``kafka.topic``; writes tables events and rejected_events.
"""

from __future__ import annotations

from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming import StreamingQuery

from features.duplicates import mark_duplicates
from features.events import JudgingRules, accepted, judge, rejected
from features.tables import EVENTS, REJECTED_EVENTS
from jobs.runtime import cli, kafka, streams
from jobs.runtime.lake import Lake
from jobs.runtime.session import spark_session
from jobs.runtime.settings import IngestSettings, Settings, load_settings

QUERY = "ingest_events"


def judging_rules(ingest: IngestSettings) -> JudgingRules:
    return JudgingRules(
        max_bytes=ingest.max_bytes,
        max_depth=ingest.max_depth,
        oldest=ingest.oldest,
        max_future_seconds=ingest.max_future_seconds,
    )


def start(spark: SparkSession, lake: Lake, settings: Settings, *, once: bool = False) -> StreamingQuery:
    """Start the query; see the module's text."""
    streams.refuse_lost_checkpoint(spark, lake, settings, QUERY, EVENTS)

    def process(records: DataFrame, batch: streams.Batch) -> None:
        ingest(lake, records, settings.ingest, batch)

    return streams.start(kafka.read_stream(spark, settings.kafka), QUERY, process, settings, once=once)


def ingest(lake: Lake, records: DataFrame, rules: IngestSettings, batch: streams.Batch) -> None:
    """One micro-batch of Kafka records (with ``ingested_at``): append each to the one table it belongs to."""
    known = records.withColumn("ingest_id", F.lit(batch.id))
    judged = judge(known, judging_rules(rules)).withColumn("event_key", F.xxhash64("event_id"))
    judged = judged.persist(StorageLevel.MEMORY_AND_DISK)
    told_apart = mark_duplicates(judged, recent_keys(lake, rules, batch)).persist(StorageLevel.MEMORY_AND_DISK)
    try:
        refused = told_apart.where(F.col("reason").isNotNull())
        if not refused.isEmpty():
            batch.append(lake, rejected(told_apart), REJECTED_EVENTS)
        batch.append(lake, accepted(told_apart), EVENTS)
    finally:
        told_apart.unpersist()
        judged.unpersist()


def recent_keys(lake: Lake, rules: IngestSettings, batch: streams.Batch) -> DataFrame:
    """Keys of the events that were accepted within the de-duplication window, this batch's own left out."""
    since = F.current_timestamp() - F.make_dt_interval(secs=F.lit(rules.dedupe_window_seconds))
    return lake.read(EVENTS).where(
        (F.col("ingested_at") >= since) & (F.col("ingest_id") != batch.id) & F.col("event_key").isNotNull()
    )


def main(env: cli.Environment = "local", overrides: cli.Overrides = None, once: cli.Once = False) -> None:
    """Judge Kafka records. Reads the topic kafka.topic; writes tables events and rejected_events."""
    settings = load_settings(env, overrides or ())
    spark = spark_session(settings)
    lake = Lake(spark, settings.storage.root)
    lake.create(EVENTS, REJECTED_EVENTS)
    start(spark, lake, settings, once=once).awaitTermination()


if __name__ == "__main__":
    cli.run(main)
