"""Judge every Kafka record: it becomes an event or a rejected record, never both, never neither.

Reads the topic ``kafka.topic``; writes tables events and rejected_events.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming.query import StreamingQuery

from features.duplicates import duplicates_of, reject_duplicates
from features.events import JudgingRules, accepted, judge, rejected
from features.tables import ERASURES, EVENTS, REJECTED_EVENTS
from jobs.runtime import cli, kafka, streams
from jobs.runtime.erasures import Privacy
from jobs.runtime.lake import Lake
from jobs.runtime.session import spark_session
from jobs.runtime.settings import IngestSettings, Settings, load_settings
from jobs.runtime.steps import Steps

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

    privacy = Privacy(lake, settings)
    privacy.check()

    def process(records: DataFrame, batch: streams.Batch) -> None:
        ingest(lake, records, settings.ingest, batch, privacy)

    return streams.start(kafka.read_stream(spark, settings.kafka), QUERY, process, settings, once=once)


def ingest(
    lake: Lake, records: DataFrame, rules: IngestSettings, batch: streams.Batch, privacy: Privacy | None = None
) -> None:
    """One micro-batch of Kafka records (with ``ingested_at``): append each to the one table it belongs to.

    Records of erased people are kept as rejected ones without content, see :mod:`features.erasure`.
    """
    steps = Steps(f"{QUERY} {batch.number}")
    judged = judge(records.withColumn("ingest_id", F.lit(batch.id)), judging_rules(rules))
    judged = judged.withColumn("event_key", F.when(F.col("event_id").isNotNull(), F.xxhash64("event_id"))).persist(
        StorageLevel.MEMORY_AND_DISK
    )
    begun = judged.select("ingested_at").first()
    if begun is None:
        return
    seen = recent_keys(lake, rules, batch, begun["ingested_at"])
    duplicates = duplicates_of(judged, seen).persist(StorageLevel.MEMORY_AND_DISK)
    try:
        with steps.step("judge"):
            told_apart = judged if duplicates.isEmpty() else reject_duplicates(judged, duplicates)
            if privacy is not None:
                told_apart = privacy.guarded(told_apart)
            has_rejected = not told_apart.where(F.col("reason").isNotNull()).isEmpty()
        with steps.step("append"), ThreadPoolExecutor(max_workers=2) as pool:
            writes = [pool.submit(batch.append, lake, accepted(told_apart), EVENTS)]
            if has_rejected:
                writes.append(pool.submit(batch.append, lake, rejected(told_apart), REJECTED_EVENTS))
            for write in writes:
                write.result()
    finally:
        duplicates.unpersist()
        judged.unpersist()
        steps.report()


def recent_keys(lake: Lake, rules: IngestSettings, batch: streams.Batch, now: datetime) -> DataFrame:
    """Keys of the events accepted within the de-duplication window before ``now``, this batch's own left out.

    ``now`` is the batch's own time, which is the same when the batch runs again: so is the answer.
    """
    since = now - timedelta(seconds=rules.dedupe_window_seconds)
    return lake.read(EVENTS).where(
        (F.col("ingested_at") >= since) & (F.col("ingest_id") != batch.id) & F.col("event_key").isNotNull()
    )


def main(env: cli.Environment = "local", overrides: cli.Overrides = None, once: cli.Once = False) -> None:
    """Judge Kafka records. Reads the topic kafka.topic; writes tables events and rejected_events."""
    settings = load_settings(env, overrides or ())
    spark = spark_session(settings)
    lake = Lake(spark, settings.storage.root)
    lake.create(EVENTS, REJECTED_EVENTS, ERASURES)
    start(spark, lake, settings, once=once).awaitTermination()


if __name__ == "__main__":
    cli.run(main)
