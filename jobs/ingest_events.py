"""Judge every Kafka record: it becomes an event or a rejected record, never both, never neither.

Reads the topic ``kafka.topic`` (or ``kafka.topics``, ``kafka.topic_pattern``); writes tables events, rejected_events
and, where it is told to go on over offsets that Kafka has deleted, ledger_gaps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming.query import StreamingQuery

from features.duplicates import POSITION, is_repeated, reject_duplicates, reject_repeated
from features.erasure import Guard
from features.events import JudgingRules, accepted, judge_in_packs, rejected
from features.packed import FOUND_BY, JUDGED, arrivals_of, packs_in, rows_in, unpack
from features.tables import ERASURES, EVENTS, LEDGER_GAPS, REJECTED_EVENTS, Table
from jobs.runtime import cli, kafka, logs, metrics, streams
from jobs.runtime.erasures import Privacy
from jobs.runtime.kafka_guard import KafkaGuard
from jobs.runtime.lake import Lake
from jobs.runtime.recent_keys import RecentKeys
from jobs.runtime.session import spark_session
from jobs.runtime.settings import IngestSettings, Settings, load_settings
from jobs.runtime.steps import Steps
from jobs.runtime.table_files import TableFiles

QUERY = "ingest_events"


def judging_rules(ingest: IngestSettings) -> JudgingRules:
    return JudgingRules(
        max_bytes=ingest.max_bytes,
        max_depth=ingest.max_depth,
        oldest=ingest.oldest,
        max_future_seconds=ingest.max_future_seconds,
        max_late_seconds=ingest.max_late_seconds,
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
    judged = judge_in_packs(records, judging_rules(settings.ingest))
    return streams.start(judged, QUERY, process, settings, once=once, trigger=settings.ingest.trigger)


def ingest(lake: Lake, judged: DataFrame, batch: streams.Batch, recent: RecentKeys, privacy: Privacy) -> None:
    """One micro-batch of judged Kafka records: append each to the one table it belongs to.

    Records of erased people are kept as rejected ones without content, see :mod:`features.erasure`.
    """
    steps = Steps(QUERY, batch.number)
    judged = judged.withColumn("ingest_id", F.lit(batch.id)).persist(StorageLevel.MEMORY_AND_DISK)
    try:
        with steps.step("judge"):
            now_of_batch = F.unix_micros("ingested_at").alias("now")
            collected = judged.select(now_of_batch, "arrivals", "reason", *FOUND_BY).toArrow()
            if not collected.num_rows:
                return
            now, found = collected["now"][0].as_py(), arrivals_of(collected)
        kept = found.filter(pc.is_null(found["reason"]))
        with steps.step("find duplicates"):
            repeated = is_repeated(kept, recent.before(batch.id, now), now)
            duplicates = kept.filter(pa.array(repeated))
        few, guard = streams.in_few_files(judged.drop("arrivals"), found.num_rows), privacy.guard()
        if lake.takes_files:
            with steps.step("write"):
                written = write_files(lake, few, duplicates, guard)
            with steps.step("commit"):
                filled = [(files, table) for table, files in written.items() if files or table is EVENTS]
                streams.side_by_side(*[partial(batch.commit, lake, *one) for one in filled])
        else:
            with steps.step("append"):
                append_rows(lake, few, duplicates, batch, guard)
        taken = kept.filter(pa.array(~repeated))["event_key"].drop_null()
        recent.accepted(taken.to_numpy(), now)
        metrics.rejected(found["reason"], duplicates.num_rows)
    finally:
        judged.unpersist()
        steps.report()


def write_files(lake: Lake, judged: DataFrame, duplicates: pa.Table, guard: Guard) -> dict[Table, list[str]]:
    """Python workers write packed events, and rows that Spark has judged; per table Delta's descriptions of files."""
    rows = without_repeated(judged, duplicates.filter(pc.invert(duplicates["is_packed"])))
    write = writer_of(duplicates.filter(duplicates["is_packed"]).select(POSITION), guard)
    return lake.written_by_workers(rows, (EVENTS, REJECTED_EVENTS), write)


def writer_of(repeated: pa.Table, guard: Guard) -> Callable[[Iterator[pa.RecordBatch], TableFiles, TableFiles], None]:
    """What a worker does with judged records: it writes each to the one table it belongs to."""

    def write(batches: Iterator[pa.RecordBatch], events: TableFiles, others: TableFiles) -> None:
        for batch in batches:
            packs = (reject_repeated(pack, repeated) for pack in packs_in(batch))
            for judged in map(guard.pack, (*packs, rows_in(batch))):
                is_event = judged["reason"].is_null()
                events.write(judged.filter(is_event).select(EVENTS.columns))
                others.write(judged.filter(pc.invert(is_event)).select(REJECTED_EVENTS.columns))

    return write


def append_rows(lake: Lake, judged: DataFrame, duplicates: pa.Table, batch: streams.Batch, guard: Guard) -> None:
    """The same by Spark's own writer: where workers cannot write a table's files."""
    rows = guard.rows(without_repeated(judged.mapInArrow(unpack, JUDGED), duplicates))
    streams.side_by_side(
        partial(batch.append, lake, accepted(rows), EVENTS),
        partial(batch.append, lake, rejected(rows), REJECTED_EVENTS),
    )


def without_repeated(judged: DataFrame, duplicates: pa.Table) -> DataFrame:
    if not duplicates.num_rows:
        return judged
    return reject_duplicates(judged, judged.sparkSession.createDataFrame(duplicates.select(POSITION)))


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
