"""Judge every Kafka record: it becomes an event or a rejected record, never both, never neither.

Reads the topic ``kafka.topic`` (or ``kafka.topics``, ``kafka.topic_pattern``); writes tables events, rejected_events
and, where it is told to go on over offsets that Kafka has deleted, ledger_gaps.
"""

from __future__ import annotations

from functools import partial

import pyarrow as pa
import pyarrow.compute as pc
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming.query import StreamingQuery

from features.duplicates import ARRIVAL, POSITION, is_repeated, reject_duplicates
from features.events import JudgingRules, accepted, judge, rejected
from features.tables import ERASURES, EVENTS, LEDGER_GAPS, REJECTED_EVENTS
from jobs.runtime import cli, kafka, logs, metrics, streams
from jobs.runtime.erasures import Privacy
from jobs.runtime.kafka_guard import KafkaGuard
from jobs.runtime.lake import Lake
from jobs.runtime.recent_keys import RecentKeys
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
    streams.refuse_lost_checkpoint(spark, lake, settings, QUERY, EVENTS, REJECTED_EVENTS)
    guard = KafkaGuard(spark, lake, settings, QUERY)
    guard.check()

    privacy = Privacy(lake, settings)
    privacy.check()

    recent = RecentKeys(lake, settings.ingest.dedupe_window_seconds)

    # A task costs some 20 ms beside its records, and those beyond the cores of one machine gain nothing.
    is_local, cores = (spark.sparkContext.master or "").startswith("local"), spark.sparkContext.defaultParallelism

    def process(judged: DataFrame, batch: streams.Batch) -> None:
        ingest(lake, judged, batch, recent, privacy)
        guard.watch(batch)

    records = kafka.read_stream(spark, settings.kafka).withColumn("ingest_id", F.lit(""))
    records = records.coalesce(cores) if is_local else records
    # In the stream, not in each batch: the strict reading is a long text, which Spark parses and resolves only once so.
    judged = judge(records, judging_rules(settings.ingest))
    return streams.start(judged, QUERY, process, settings, once=once, trigger=settings.ingest.trigger)


def ingest(
    lake: Lake,
    judged: DataFrame,
    batch: streams.Batch,
    recent: RecentKeys,
    privacy: Privacy | None = None,
) -> None:
    """One micro-batch of judged Kafka records: append each to the one table it belongs to.

    Records of erased people are kept as rejected ones without content, see :mod:`features.erasure`.
    """
    steps = Steps(QUERY, batch.number)
    judged = judged.withColumn("ingest_id", F.lit(batch.id)).persist(StorageLevel.MEMORY_AND_DISK)
    try:
        with steps.step("judge"):
            now_of_batch = F.unix_micros("ingested_at").alias("now")
            found = judged.select(now_of_batch, "reason", "event_key", *ARRIVAL).toArrow()
        if not found.num_rows:
            return
        now = found["now"][0].as_py()
        kept = found.filter(pc.is_null(found["reason"]))
        with steps.step("find duplicates"):
            repeated = is_repeated(kept, recent.before(batch.id, now), now)
            duplicates = kept.filter(pa.array(repeated)).select(POSITION)
        told_apart = judged
        if duplicates.num_rows:
            told_apart = reject_duplicates(judged, lake.spark.createDataFrame(duplicates))
        if privacy is not None:
            told_apart = privacy.guarded(told_apart)
        has_rejected = kept.num_rows < found.num_rows or duplicates.num_rows or (privacy and privacy.erased())
        with steps.step("append"):
            few = streams.in_few_files(told_apart, found.num_rows)
            writes = [partial(batch.append, lake, accepted(few), EVENTS)]
            if has_rejected:
                writes.append(partial(batch.append, lake, rejected(few), REJECTED_EVENTS))
            streams.side_by_side(*writes)
        taken = kept.filter(pa.array(~repeated))["event_key"].drop_null()
        recent.accepted(taken.to_numpy(), now)
        metrics.rejected(found["reason"], duplicates.num_rows)
    finally:
        judged.unpersist()
        steps.report()


def main(env: cli.Environment = "local", overrides: cli.Overrides = None, once: cli.Once = False) -> None:
    """Judge Kafka records. Reads the topic kafka.topic; writes tables events and rejected_events."""
    settings = load_settings(env, overrides or ())
    logs.to_stderr(settings.log)
    spark = spark_session(settings)
    lake = Lake(spark, settings.storage.root)
    lake.create(EVENTS, REJECTED_EVENTS, ERASURES, LEDGER_GAPS)
    query = start(spark, lake, settings, once=once)
    streams.finish(query, settings, KafkaGuard(spark, lake, settings, QUERY).check)


if __name__ == "__main__":
    cli.run(main)
