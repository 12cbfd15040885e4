"""Fold new events into tiles and revise the feature rows they touch.

Reads table events (as a stream) and the look-back of table tiles; writes tables tiles and features.
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

from features.behavior import SessionRules, behavior, by_user, feature_rows, whole_users
from features.merging import INSTANT, constant, merged
from features.tables import EVENTS, FEATURE_TABLE, TILES
from features.tiles import FOLDED, merge, tiles_of_one
from lake.person_rows import Selection
from lake.spark_tables import Lake
from lake.worker_files import TableFiles
from settings import Settings, cli, load_settings
from spark.session import spark_session
from streams import queries
from streams.flow import FEATURES
from streams.look_back import look_back, look_back_micros, older_and_new
from streams.rules import session_rules
from telemetry import logs
from telemetry.steps import Steps

QUERY = FEATURES.query


def start(spark: SparkSession, lake: Lake, settings: Settings, *, once: bool = False) -> StreamingQuery:
    """Start the query; see the module's text."""
    queries.refuse_lost_checkpoint(spark, lake, settings, QUERY, TILES)
    rules = session_rules(settings)

    def process(events: DataFrame, batch: queries.Batch) -> None:
        build(lake, events, rules, batch)

    # Chosen in the stream: what a batch selects later does not reach the files, and events carry all that was sent.
    stream = lake.read_stream(EVENTS, settings.stream.max_files_per_trigger).select(*FOLDED)
    newest = lake.newest(TILES, FEATURE_TABLE)
    return queries.start(stream, QUERY, process, settings, once=once, newest=newest)


def build(lake: Lake, events: DataFrame, rules: SessionRules, batch: queries.Batch) -> None:
    """One micro-batch: append the events' partial tiles, and the rows that they change in features.

    The two commits are independent and each happens once, so their order does not matter and a crash between them is
    mended when the batch runs again: the look-back never holds the batch's own tiles.
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
        tiles = older_and_new(lake, tiles_of_one(events), selection)
        partitions = min(lake.shuffle_partitions, 1 + count // queries.ROWS_A_FILE)
        if lake.takes_files:
            with steps.step("write"):
                users = by_user(tiles, partitions)
                written = lake.written_by_workers(users, (TILES, FEATURE_TABLE), tiles_and_rows_writer(rules, batch))
            with steps.step("commit"):
                queries.side_by_side(*[partial(batch.commit, lake, files, table) for table, files in written.items()])
        else:
            with steps.step("append"):
                append_rows(lake, tiles, rules, batch)
    finally:
        events.unpersist()
        steps.report()


def append_rows(lake: Lake, tiles: DataFrame, rules: SessionRules, batch: queries.Batch) -> None:
    """The same by Spark's own writer, in two passes: where workers cannot write a table's files."""
    fresh = merge(tiles.where("fresh"))
    queries.side_by_side(
        partial(batch.append, lake, queries.stamped(fresh, batch), TILES),
        partial(batch.append, lake, queries.stamped(behavior(tiles, rules), batch), FEATURE_TABLE),
    )


def tiles_and_rows_writer(
    rules: SessionRules, batch: queries.Batch
) -> Callable[[Iterator[pa.RecordBatch], TableFiles, TableFiles], None]:
    """What a worker does with its users' tiles: it writes the fresh ones, and the rows that they change."""
    time, batch_id = batch.time, batch.id

    def stamped(rows: pa.Table) -> pa.Table:
        times = pa.repeat(pa.scalar(time, INSTANT), rows.num_rows)
        return rows.append_column("batch_time", times).append_column("batch_id", constant(batch_id, rows.num_rows))

    def write(batches: Iterator[pa.RecordBatch], tiles: TableFiles, rows: TableFiles) -> None:
        for users in whole_users(batches):
            parts = merged(users)
            tiles.write(stamped(parts.fresh()))
            rows.write(stamped(feature_rows(parts, rules)))

    return write


def main(env: cli.Environment = "local", overrides: cli.Overrides = None, once: cli.Once = False) -> None:
    """Fold new events into tiles and revise feature rows. Reads events and tiles; writes tiles and features."""
    settings = load_settings(env, overrides or ())
    logs.to_stderr(settings.log)
    spark = spark_session(settings)
    lake = Lake(spark, settings.storage.root)
    lake.create(EVENTS, TILES, FEATURE_TABLE)
    queries.finish(start(spark, lake, settings, once=once), settings)


if __name__ == "__main__":
    cli.run(main)
