"""Rows of people in the tables, and the files that still hold them when the tables no longer do."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from features.columns import beside
from features.identities import RESTORED, UNDONE
from features.packed import without_null_lists
from features.tables import EVENTS, IDENTITIES, REJECTED_EVENTS, Table
from lake.rewrites import delete_keys, replace_keys, still_alone
from lake.spark_tables import Lake
from privacy.mentions import People
from privacy.pseudonyms import BYTES, PLACES, without_content
from privacy.stray_files import NEEDED
from settings import MaintenanceSettings

Batches = Iterator[pa.RecordBatch]
LISTED = "LITE RETAIN 0 HOURS"


def remove_rows(lake: Lake, table: Table, people: People, chosen: MaintenanceSettings) -> int:
    """Remove the people's rows; how many there were."""
    if not lake.exists(table):
        return 0
    if table in (EVENTS, REJECTED_EVENTS):
        lake.create(table)  # one of an older version lacks columns of the key
    rows = lake.read(table)
    if table is REJECTED_EVENTS:
        records, places = rows.select(*table.keys, *NEEDED), rows.select(*table.keys).schema
        named = without_null_lists(records).mapInArrow(naming_records(people, table.keys), places).toArrow()
        if named.num_rows:
            blank(lake, lake.spark.createDataFrame(named), chosen)
        return int(named.num_rows)
    known = lake.spark.createDataFrame(pa.table({"user_id": people.array}))
    if table is IDENTITIES:
        return remove_links(lake, known, chosen)
    if table is EVENTS:
        others = rows.join(F.broadcast(known), "user_id", "left_anti")
        forget_shared_bytes(lake, others, people, chosen)
        forget_what_it_was(lake, others, known, chosen)
        mine = rows.join(F.broadcast(known), "user_id", "left_semi")
        if mine.isEmpty():
            return 0
        keep_places(lake, mine.select(*PLACES))
    return delete_keys(lake, table, known, chosen)


def forget_shared_bytes(lake: Lake, others: DataFrame, people: People, chosen: MaintenanceSettings) -> None:
    """Remove the bytes that name the people from ``others``' events which came with theirs in one record of Kafka.

    Such events have its key, and what stood around all of them.
    """
    keys = list(EVENTS.keys)
    shared = others.where("part IS NOT NULL").select(*keys, *BYTES).withColumn("detail", F.lit(None).cast("string"))
    named = without_null_lists(shared).mapInArrow(naming_records(people, keys), shared.select(keys).schema).toArrow()
    if named.num_rows:
        places = lake.spark.createDataFrame(named)
        blanks = {name: F.lit(None).cast(EVENTS.schema[name].dataType) for name in BYTES}
        replace_keys(lake, EVENTS, places.distinct(), lambda rows: rows.withColumns(blanks), chosen)


def forget_what_it_was(lake: Lake, others: DataFrame, known: DataFrame, chosen: MaintenanceSettings) -> None:
    """Remove the ``known`` ids from ``others``' events as what these users were called before, and the bytes with them.

    The event is of a user who stays.
    """
    before = F.broadcast(known.withColumnRenamed("user_id", "anonymous_id"))
    places = others.join(before, "anonymous_id", "left_semi").select(*EVENTS.keys)
    if not places.isEmpty():
        blanks = {name: F.lit(None).cast(EVENTS.schema[name].dataType) for name in (*BYTES, "anonymous_id")}
        replace_keys(lake, EVENTS, places.distinct(), lambda rows: rows.withColumns(blanks), chosen)


def remove_links(lake: Lake, known: DataFrame, chosen: MaintenanceSettings) -> int:
    """Remove the links of the ``known`` ids; how many rows had one.

    Of those to ids that stay it is kept that somebody had them, without a name: else they would lend what that person
    did to whoever was linked to them next.
    """

    def of_nobody(rows: DataFrame) -> DataFrame:
        links = rows.where(~F.col("source").isin(UNDONE, RESTORED))
        return links.withColumn("user_id", F.lit(None).cast("string"))

    removed = delete_keys(lake, IDENTITIES, known.withColumnRenamed("user_id", "anonymous_id"), chosen)
    users = lake.read(IDENTITIES).join(F.broadcast(known), "user_id", "left_semi").count()
    if users:
        replace_keys(lake, IDENTITIES, known, of_nobody, chosen)
    return removed + users


def blank(lake: Lake, places: DataFrame, chosen: MaintenanceSettings) -> None:
    """Leave of the rejected records at ``places`` what ingest keeps of an erased person's: where they were in Kafka."""
    replace_keys(lake, REJECTED_EVENTS, places.distinct(), lambda rows: rows.withColumns(_nobody()), chosen)


def keep_places(lake: Lake, places: DataFrame) -> None:
    """Note the ``places`` of events that are to be removed as rejected records, each once: no offset is lost by it."""
    lake.create(REJECTED_EVENTS)
    keys = list(REJECTED_EVENTS.keys)
    new = beside(places.dropDuplicates(keys), lake.read(REJECTED_EVENTS).select(keys), keys, "left_anti")
    batch = f"erase_user-{uuid.uuid4()}:0"  # the batch that read them must not find itself in this table
    rows = new.withColumns({**_nobody(), "ingest_id": F.lit(batch)}).select(*REJECTED_EVENTS.columns)
    still_alone()
    lake.append(rows, REJECTED_EVENTS, batch_id=batch)


def _nobody() -> dict[str, Column]:
    """What a rejected record says of its content when that was a person's who is erased."""
    content = without_content(REJECTED_EVENTS.columns)
    return {name: F.lit(left).cast(REJECTED_EVENTS.schema[name].dataType) for name, left in content.items()}


def naming_records(people: People, keys: Sequence[str]) -> Callable[[Batches], Batches]:
    """What a worker does: it tells the ``keys`` of the rejected records that name one of ``people``."""

    def work(batches: Batches) -> Batches:
        for batch in batches:
            records = pa.Table.from_batches([batch])
            yield from records.filter(people.of_records(records)).select(list(keys)).to_batches()

    return work


def delete_removed_files(lake: Lake, table: Table) -> None:
    """Delete what the log names as removed, and so never a file that a stream is just writing."""
    try:
        lake.vacuum(table, LISTED)
    except PySparkException as error:
        if "DELTA_CANNOT_VACUUM_LITE" not in str(error):
            raise
        # The log no longer goes back to the last VACUUM: a whole one first, which spares what is being written.
        lake.vacuum(table, "RETAIN 24 HOURS")
        lake.vacuum(table, LISTED)
