"""Fold new events into tiles and revise the feature rows they touch.

Reads table events (as a stream) and the look-back of table tiles; writes tables tiles and features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial

import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming.query import StreamingQuery

from features.behavior import SessionRules, behavior, by_user, feature_rows, whole_users
from features.merging import INSTANT, constant, merged
from features.tables import EVENTS, FEATURE_TABLE, TILES
from features.tiles import FOLDED, merge, tiles_of_one
from jobs.runtime import cli, logs, streams
from jobs.runtime.lake import Lake
from jobs.runtime.session import spark_session
from jobs.runtime.settings import Settings, load_settings
from jobs.runtime.steps import Steps
from jobs.runtime.table_files import TableFiles

QUERY = "build_features"
BROADCAST_USERS = 200_000
"""Up to so many users of a batch the look-back is cut to them before it is shuffled."""


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
    return streams.start(stream, QUERY, process, settings, once=once)


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
            spread = (
                events.agg(
                    F.min("timestamp").alias("first"),
                    F.max("timestamp").alias("last"),
                    F.approx_count_distinct("user_id", 0.1).alias("users"),
                    F.count("*").alias("events"),
                )
                .toArrow()
                .to_pylist()[0]
            )
        if not spread["events"]:
            return
        since, until = look_back(spread["first"], spread["last"], rules)
        older = lake.read(TILES).where(
            (F.col("window_start") >= since) & (F.col("window_start") < until) & (F.col("batch_id") != batch.id)
        )
        tiles = with_older(tiles_of_one(events), older, narrow=spread["users"] <= BROADCAST_USERS)
        partitions = min(lake.shuffle_partitions, 1 + spread["events"] // streams.ROWS_A_FILE)
        if lake.takes_files:
            with steps.step("write"):
                users = by_user(tiles, partitions)
                written = lake.written_by_workers(users, (TILES, FEATURE_TABLE), writer_of(rules, batch.id))
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


def writer_of(rules: SessionRules, batch_id: str) -> Callable[[Iterator[pa.RecordBatch], TableFiles, TableFiles], None]:
    """What a worker does with its users' tiles: it writes the fresh ones, and the rows that they change."""
    now = datetime.now(UTC)

    def stamped(rows: pa.Table) -> pa.Table:
        times = pa.repeat(pa.scalar(now, INSTANT), rows.num_rows)
        return rows.append_column("batch_time", times).append_column("batch_id", constant(batch_id, rows.num_rows))

    def write(batches: Iterator[pa.RecordBatch], tiles: TableFiles, rows: TableFiles) -> None:
        for users in whole_users(batches):
            parts = merged(users)
            tiles.write(stamped(parts.fresh()))
            rows.write(stamped(feature_rows(parts, rules)))

    return write


def look_back(first: datetime, last: datetime, rules: SessionRules) -> tuple[datetime, datetime]:
    """Times from and before which tiles bear on events from ``first`` to ``last``.

    In whole hours, so that most batches read by the same condition: Spark need not compile it anew.
    """
    span, hour = timedelta(minutes=rules.look_back), timedelta(hours=1)
    since, until = (time.replace(minute=0, second=0, microsecond=0) for time in (first - span, last + span + hour))
    return since, until


def with_older(tiles: DataFrame, older: DataFrame, *, narrow: bool = True) -> DataFrame:
    """The new partial ``tiles``, marked ``fresh``, and of the ``older`` ones of the look-back those of their users.

    Args:
        narrow: whether the users are few enough to be told to every task; if not, all of ``older`` are taken.
    """
    near = older
    if narrow:
        # By a number, which is looked up faster than a text (decision 020). Tiles of somebody else with the same number
        # would be read for nothing, and change no row. A semi-join keeps each tile once.
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
