"""Fold new events into tiles and revise the feature rows they touch.

Reads table events (as a stream) and the look-back of table tiles; writes tables tiles and features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial, reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming.query import StreamingQuery

from features.behavior import SessionRules, behavior, by_user, feature_rows, whole_users
from features.merging import INSTANT, MINUTE_MICROS, constant, merged
from features.tables import EVENTS, FEATURE_TABLE, TILES
from features.tiles import FOLDED, merge, tiles_of_one
from jobs.runtime import cli, logs, streams
from jobs.runtime.lake import Lake
from jobs.runtime.session import spark_session
from jobs.runtime.settings import Settings, load_settings
from jobs.runtime.steps import Steps
from jobs.runtime.table_files import TableFiles
from jobs.runtime.table_reads import Wanted

QUERY = "build_features"
FEW_USERS = 200_000
"""Of up to so many users of a batch only their own look-back is read; of more, everybody's."""
MOST_WINDOWS = 16
"""Times apart from each other that are asked of Spark in one condition."""


def session_rules(settings: Settings) -> SessionRules:
    chosen = settings.features
    return SessionRules(chosen.session_gap_minutes, chosen.session_max_minutes, chosen.own_past_minutes)


def start(spark: SparkSession, lake: Lake, settings: Settings, *, once: bool = False) -> StreamingQuery:
    """Start the query; see the module's text."""
    streams.refuse_lost_checkpoint(spark, lake, settings, QUERY, TILES)
    rules = session_rules(settings)

    def process(events: DataFrame, batch: streams.Batch) -> None:
        build(lake, events, rules, batch)

    # Chosen in the stream: what a batch selects later does not reach the files, and events carry all that was sent.
    stream = lake.read_stream(EVENTS, settings.stream.max_files_per_trigger).select(*FOLDED)
    newest = lake.newest(TILES, FEATURE_TABLE)
    return streams.start(stream, QUERY, process, settings, once=once, newest=newest)


def build(lake: Lake, events: DataFrame, rules: SessionRules, batch: streams.Batch) -> None:
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
                events.groupBy("user_id", F.floor(F.unix_micros("timestamp") / span_of(rules)).alias("part"))
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
        wanted = Wanted(look_back(people, rules), batch.id)
        tiles = older_and_new(lake, tiles_of_one(events), wanted)
        partitions = min(lake.shuffle_partitions, 1 + count // streams.ROWS_A_FILE)
        if lake.takes_files:
            with steps.step("write"):
                users = by_user(tiles, partitions)
                written = lake.written_by_workers(users, (TILES, FEATURE_TABLE), writer_of(rules, batch))
            with steps.step("commit"):
                streams.side_by_side(*[partial(batch.commit, lake, files, table) for table, files in written.items()])
        else:
            with steps.step("append"):
                append_rows(lake, tiles, rules, batch)
    finally:
        events.unpersist()
        steps.report()


def append_rows(lake: Lake, tiles: DataFrame, rules: SessionRules, batch: streams.Batch) -> None:
    """The same by Spark's own writer, in two passes: where workers cannot write a table's files."""
    fresh = merge(tiles.where("fresh"))
    streams.side_by_side(
        partial(batch.append, lake, streams.stamped(fresh, batch), TILES),
        partial(batch.append, lake, streams.stamped(behavior(tiles, rules), batch), FEATURE_TABLE),
    )


def writer_of(
    rules: SessionRules, batch: streams.Batch
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


def span_of(rules: SessionRules) -> int:
    """Microseconds of the look-back."""
    return rules.look_back * MINUTE_MICROS


def look_back(people: pa.Table, rules: SessionRules) -> pa.Table:
    """Spans of time whose tiles bear on people's events, as :class:`~jobs.runtime.table_reads.Wanted` has them.

    Of each user the times around his own events: somebody who sends one event of years ago has a span there and one
    here, and nobody else has any more than his near past.

    Args:
        people: ``user_id``; ``first`` and ``last``, the times in microseconds of some of his events that are no further
            apart than the look-back.

    In whole hours, so that most people of a batch have the same.
    """
    span, hour = span_of(rules), 60 * MINUTE_MICROS
    codes = people["user_id"].combine_chunks().dictionary_encode()
    user, first, last = codes.indices.to_numpy(), people["first"].to_numpy(), people["last"].to_numpy()
    order = np.lexsort((first, user))
    user, since, until = user[order], (first[order] - span) // hour * hour, ((last[order] + span) // hour + 1) * hour
    apart = (np.diff(user) != 0) | (since[1:] > until[:-1])
    begins = np.flatnonzero(np.concatenate(([True], apart)))
    ends = np.append(begins[1:], len(user)) - 1
    names = codes.dictionary.take(pa.array(user[begins]))
    return pa.table({"user_id": names, "since": since[begins], "until": until[ends]})


def older_and_new(lake: Lake, tiles: DataFrame, wanted: Wanted) -> DataFrame:
    """The new partial ``tiles``, marked ``fresh``, and the ``wanted`` ones of the look-back."""
    is_few = pc.count_distinct(wanted.spans["user_id"]).as_py() <= FEW_USERS
    if is_few and (near := lake.read_people(TILES, tiles.columns, wanted)) is not None:
        return with_older(tiles, near, narrow=False)
    at = F.col("window_start")
    windows = [
        (at >= F.timestamp_micros(F.lit(since))) & (at < F.timestamp_micros(F.lit(until)))
        for since, until in wanted.windows(MOST_WINDOWS)
    ]
    inside = reduce(Column.__or__, windows)
    return with_older(tiles, lake.read(TILES).where(inside & (F.col("batch_id") != wanted.not_batch)), narrow=is_few)


def with_older(tiles: DataFrame, older: DataFrame, *, narrow: bool = True) -> DataFrame:
    """The new partial ``tiles``, marked ``fresh``, and of the ``older`` ones of the look-back those of their users.

    Args:
        narrow: whether to leave out other users' tiles, which change no row, before they are shuffled.
    """
    near = older
    if narrow:
        # By a number, which is looked up faster than a text (decision 020). Tiles of somebody else with the same number
        # would be read for nothing. A semi-join keeps each tile once.
        users = F.broadcast(tiles.select(F.xxhash64("user_id").alias("number")).distinct())
        near = older.join(users, F.xxhash64("user_id") == F.col("number"), "left_semi")
    return near.select(*tiles.columns, F.lit(False).alias("fresh")).unionByName(tiles.withColumn("fresh", F.lit(True)))


def main(env: cli.Environment = "local", overrides: cli.Overrides = None, once: cli.Once = False) -> None:
    """Fold new events into tiles and revise feature rows. Reads events and tiles; writes tiles and features."""
    settings = load_settings(env, overrides or ())
    logs.to_stderr(settings.log)
    spark = spark_session(settings)
    lake = Lake(spark, settings.storage.root)
    lake.create(EVENTS, TILES, FEATURE_TABLE)
    streams.finish(start(spark, lake, settings, once=once), settings)


if __name__ == "__main__":
    cli.run(main)
