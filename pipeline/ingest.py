"""Validated records to events and rejected records: one micro-batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from features.packed import tables_in, unpacked
from features.records import accepted, rejected, validate_in_packs
from features.tables import EVENTS, REJECTED_EVENTS, Table
from kafka import source
from lake.spark_tables import Lake
from lake.worker_files import TableFiles
from pipeline.admission import Admit, admission
from pipeline.workers import write_records
from privacy.erased_people import Privacy
from settings import Settings
from streams import queries
from streams.arrivals import arrivals_in
from streams.flow import INGEST
from streams.recent_keys import RecentKeys
from streams.rules import validation_rules
from telemetry import metrics
from telemetry.steps import Steps

QUERY = INGEST.query


def packs_of_topic(spark: SparkSession, settings: Settings, look_back_micros: int | None = None) -> DataFrame:
    """The topic's records as a stream of packs, see :func:`features.records.validate_in_packs`."""
    records = source.read_stream(spark, settings.kafka).withColumn("ingest_id", F.lit(""))
    if (spark.sparkContext.master or "").startswith("local"):
        # A task costs some 20 ms beside its records, and those beyond the cores of one machine gain nothing.
        records = records.coalesce(spark.sparkContext.defaultParallelism)
    return validate_in_packs(records, validation_rules(settings.ingest), look_back_micros)


def ingest(lake: Lake, packs: DataFrame, batch: queries.Batch, recent: RecentKeys, privacy: Privacy) -> None:
    """One micro-batch of validated Kafka records, in packs: append each record to the one table it belongs to.

    Records of erased people are kept as rejected ones without content, see :mod:`privacy.pseudonyms`.
    """
    steps = Steps(QUERY, batch.number)
    packs = packs.persist(StorageLevel.MEMORY_AND_DISK)
    try:
        with steps.step("validate"):
            arrivals = arrivals_in(packs, recent, batch.id)
        if arrivals is None:
            return
        few, admit = queries.in_few_files(packs, arrivals.count), admission(arrivals.duplicates, privacy.guard())
        if lake.takes_files:
            with steps.step("write"):
                written = keep(lake, few, admit, batch.id)
            with steps.step("commit"):
                filled = [(files, table) for table, files in written.items() if files or table is EVENTS]
                queries.side_by_side(*[partial(batch.commit, lake, *one) for one in filled])
        else:
            with steps.step("append"):
                append_rows(lake, unpacked(few, admit), batch)
        recent.accepted(arrivals.accepted_keys, arrivals.now)
        metrics.rejected(arrivals.reasons, arrivals.duplicates.num_rows)
    finally:
        packs.unpersist()
        steps.report()


def keep(lake: Lake, packs: DataFrame, admit: Admit, batch_id: str) -> dict[Table, list[str]]:
    """Let workers write the records in ``packs``; per table what :meth:`~lake.spark_tables.Lake.commit` takes."""
    return lake.written_by_workers(packs.select("records"), (EVENTS, REJECTED_EVENTS), writer_of(admit, batch_id))


def writer_of(admit: Admit, batch_id: str) -> Callable[[Iterator[pa.RecordBatch], TableFiles, TableFiles], None]:
    """What a worker does with packs: it writes each record to the one table it belongs to."""

    def write(batches: Iterator[pa.RecordBatch], events: TableFiles, others: TableFiles) -> None:
        for batch in batches:
            for validated in map(admit, tables_in(batch["records"])):
                write_records(validated, batch_id, events, others)

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
