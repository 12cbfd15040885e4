"""Validate every Kafka record: it becomes an event or a rejected record, never both, never neither.

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

from features.duplicates import is_repeated
from features.packed import tables_in, unpacked
from features.records import accepted, rejected, validate_in_packs
from features.tables import ERASURES, EVENTS, LEDGER_GAPS, REJECTED_EVENTS
from jobs.shared.admission import admission
from kafka import source
from kafka.guard import KafkaGuard
from lake.spark_tables import Lake
from lake.worker_files import TableFiles
from privacy.erased_people import Privacy
from settings import Settings, cli, load_settings
from spark.session import spark_session
from streams import queries
from streams.flow import INGEST
from streams.recent_keys import RecentKeys
from streams.rules import validation_rules
from telemetry import logs, metrics
from telemetry.steps import Steps

QUERY = INGEST.query


def start(spark: SparkSession, lake: Lake, settings: Settings, *, once: bool = False) -> StreamingQuery:
    """Start the query; see the module's text."""
    queries.refuse_lost_checkpoint(spark, lake, settings, QUERY, EVENTS, REJECTED_EVENTS)
    guard = KafkaGuard(spark, lake, settings, QUERY)
    guard.check()

    privacy = Privacy(lake, settings)
    privacy.check()

    recent = RecentKeys(lake, settings.ingest.dedupe_window_seconds)

    # A task costs some 20 ms beside its records, and those beyond the cores of one machine gain nothing.
    is_local, cores = (spark.sparkContext.master or "").startswith("local"), spark.sparkContext.defaultParallelism

    def process(packs: DataFrame, batch: queries.Batch) -> None:
        ingest(lake, packs, batch, recent, privacy)
        guard.watch(batch)

    records = source.read_stream(spark, settings.kafka).withColumn("ingest_id", F.lit(""))
    records = records.coalesce(cores) if is_local else records
    packs = validate_in_packs(records, validation_rules(settings.ingest))
    return queries.start(packs, QUERY, process, settings, once=once, trigger=settings.ingest.trigger)


def ingest(lake: Lake, packs: DataFrame, batch: queries.Batch, recent: RecentKeys, privacy: Privacy) -> None:
    """One micro-batch of validated Kafka records, in packs: append each record to the one table it belongs to.

    Records of erased people are kept as rejected ones without content, see :mod:`privacy.pseudonyms`.
    """
    steps = Steps(QUERY, batch.number)
    packs = packs.persist(StorageLevel.MEMORY_AND_DISK)
    try:
        with steps.step("validate"):
            tables = list(tables_in(packs.select("arrivals").toArrow()["arrivals"]))
        if not tables:
            return
        arrivals = pa.concat_tables(tables)
        now = arrivals["ingested_at"].cast(pa.int64())[0].as_py()
        passing = arrivals.filter(pc.is_null(arrivals["reason"]))
        with steps.step("find duplicates"):
            repeated = is_repeated(passing, recent.before(batch.id, now), now)
            duplicates = passing.filter(pa.array(repeated))
        few, admit = queries.in_few_files(packs, arrivals.num_rows), admission(duplicates, privacy.guard())
        if lake.takes_files:
            with steps.step("write"):
                written = lake.written_by_workers(
                    few.select("records"), (EVENTS, REJECTED_EVENTS), writer_of(admit, batch.id)
                )
            with steps.step("commit"):
                filled = [(files, table) for table, files in written.items() if files or table is EVENTS]
                queries.side_by_side(*[partial(batch.commit, lake, *one) for one in filled])
        else:
            with steps.step("append"):
                append_rows(lake, unpacked(few, admit), batch)
        recent.accepted(passing.filter(pa.array(~repeated))["event_key"].drop_null().to_numpy(), now)
        metrics.rejected(arrivals["reason"], duplicates.num_rows)
    finally:
        packs.unpersist()
        steps.report()


def writer_of(
    admit: Callable[[pa.Table], pa.Table], batch_id: str
) -> Callable[[Iterator[pa.RecordBatch], TableFiles, TableFiles], None]:
    """What a worker does with packs: it writes each record to the one table it belongs to."""

    def write(batches: Iterator[pa.RecordBatch], events: TableFiles, others: TableFiles) -> None:
        for batch in batches:
            for validated in map(admit, tables_in(batch["records"])):
                place = validated.column_names.index("ingest_id")
                rows = validated.set_column(place, "ingest_id", pa.repeat(batch_id, validated.num_rows))
                is_event = rows["reason"].is_null()
                events.write(rows.filter(is_event).select(EVENTS.columns))
                others.write(rows.filter(pc.invert(is_event)).select(REJECTED_EVENTS.columns))

    return write


def append_rows(lake: Lake, rows: DataFrame, batch: queries.Batch) -> None:
    """The same by Spark's own writer: where workers cannot write a table's files."""
    rows = rows.withColumn("ingest_id", F.lit(batch.id)).persist(StorageLevel.MEMORY_AND_DISK)
    try:
        queries.side_by_side(
            partial(batch.append, lake, accepted(rows), EVENTS),
            partial(batch.append, lake, rejected(rows), REJECTED_EVENTS),
        )
    finally:
        rows.unpersist()


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
