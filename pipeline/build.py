"""New events to tiles, and to the feature rows that they change: one micro-batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc
from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.behavior import SessionRules, behavior, gathered, lean, whole_users
from features.tables import FEATURE_TABLE, TILES
from features.tiles import FOLDED, merge, tiles_of_one
from lake.person_rows import Selection
from lake.spark_tables import Lake
from lake.worker_files import TableFiles
from pipeline.workers import stamp, write_users
from streams import queries
from streams.flow import FEATURES
from streams.look_back import look_back, look_back_micros, with_near_tiles
from telemetry.steps import Steps

QUERY = FEATURES.query
Commit = Callable[..., None]


def build(
    lake: Lake, events: DataFrame, rules: SessionRules, batch: queries.Batch, commit: Commit = queries.side_by_side
) -> None:
    """One micro-batch: append the events' partial tiles, and the rows that they change in features.

    The two commits are independent and each happens once, so their order does not matter and a crash between them is
    mended when the batch runs again: the look-back never holds the batch's own tiles. ``commit`` makes both, features
    first.
    """
    steps = Steps(QUERY, batch.number)
    # Looked at three times. Spark counts a batch's rows by what it reads of the source, which is to be read once.
    events = events.select(*FOLDED).persist(StorageLevel.MEMORY_AND_DISK)
    try:
        with steps.step("look"):
            people = (
                events.groupBy("user_id", F.floor(F.unix_micros("timestamp") / look_back_micros(rules)).alias("part"))
                .agg(
                    F.min(F.unix_micros("timestamp")).alias("first"),
                    F.max(F.unix_micros("timestamp")).alias("last"),
                    F.count("*").alias("events"),
                )
                .toArrow()
            )
        if not people.num_rows:
            return
        count = pc.sum(people["events"]).as_py()
        selection = Selection(look_back(people, rules), batch.id)
        tiles = with_near_tiles(lake, tiles_of_one(events), selection)
        partitions = min(lake.shuffle_partitions, 1 + count // queries.ROWS_A_FILE)
        if lake.takes_files:
            with steps.step("write"):
                users = gathered(lean(tiles), partitions)
                written = lake.written_by_workers(users, (TILES, FEATURE_TABLE), tiles_and_rows_writer(rules, batch))
            with steps.step("commit"):
                commit(*[partial(batch.commit, lake, written[table], table) for table in (FEATURE_TABLE, TILES)])
        else:
            with steps.step("append"):
                append_rows(lake, tiles, rules, batch, commit)
    finally:
        events.unpersist()
        steps.report()


def append_rows(lake: Lake, tiles: DataFrame, rules: SessionRules, batch: queries.Batch, commit: Commit) -> None:
    """The same by Spark's own writer, in two passes: where workers cannot write a table's files."""
    fresh = merge(tiles.where("fresh"))
    commit(
        partial(batch.append, lake, queries.stamped(behavior(tiles, rules), batch), FEATURE_TABLE),
        partial(batch.append, lake, queries.stamped(fresh, batch), TILES),
    )


def tiles_and_rows_writer(
    rules: SessionRules, batch: queries.Batch
) -> Callable[[Iterator[pa.RecordBatch], TableFiles, TableFiles], None]:
    """What a worker does with its users' tiles: it writes the fresh ones, and the rows that they change."""
    stamped = stamp(batch.time, batch.id)

    def write(batches: Iterator[pa.RecordBatch], tiles: TableFiles, rows: TableFiles) -> None:
        for users in whole_users(batches):
            write_users(users, rules, stamped, tiles, rows)

    return write
