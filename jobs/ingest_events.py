"""Validate every Kafka record: it becomes an event or a rejected record, never both, never neither.

Reads the topic ``kafka.topic`` (or ``kafka.topics``, ``kafka.topic_pattern``); writes tables events, rejected_events
and, where it is told to go on over offsets that Kafka has deleted, ledger_gaps.
"""

from __future__ import annotations

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from features.tables import ERASURES, EVENTS, LEDGER_GAPS, REJECTED_EVENTS
from kafka.guard import KafkaGuard
from lake.spark_tables import Lake
from pipeline.ingest import ingest, packs_of_topic
from privacy.erased_people import Privacy
from settings import Settings, cli, load_settings
from spark.session import spark_session
from streams import queries
from streams.flow import INGEST
from streams.recent_keys import RecentKeys
from telemetry import logs

QUERY = INGEST.query


def start(spark: SparkSession, lake: Lake, settings: Settings, *, once: bool = False) -> StreamingQuery:
    """Start the query; see the module's text."""
    queries.refuse_lost_checkpoint(spark, lake, settings, QUERY, EVENTS, REJECTED_EVENTS)
    guard = KafkaGuard(spark, lake, settings, QUERY)
    guard.check()

    privacy = Privacy(lake, settings)
    privacy.check()

    recent = RecentKeys(lake, settings.ingest.dedupe_window_seconds)

    def process(packs: DataFrame, batch: queries.Batch) -> None:
        ingest(lake, packs, batch, recent, privacy)
        guard.watch(batch)

    packs = packs_of_topic(spark, settings)
    return queries.start(packs, QUERY, process, settings, once=once, trigger=settings.ingest.trigger)


def main(env: cli.Environment = "local", overrides: cli.Overrides = None, once: cli.Once = False) -> None:
    """Validate Kafka records. Reads the topic kafka.topic; writes tables events and rejected_events."""
    settings = load_settings(env, overrides or ())
    logs.to_stderr(settings.log)
    spark = spark_session(settings)
    lake = Lake(spark, settings.storage.root)
    lake.create(EVENTS, REJECTED_EVENTS, ERASURES, LEDGER_GAPS)
    query = start(spark, lake, settings, once=once)
    queries.finish(query, settings, KafkaGuard(spark, lake, settings, QUERY).check)


if __name__ == "__main__":
    cli.run(main)
