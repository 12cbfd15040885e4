"""Fold new events into tiles and revise the feature rows they touch.

Reads table events (as a stream) and the look-back of table tiles; writes tables tiles and features.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming.query import StreamingQuery

from features.behavior import SessionRules, behavior
from features.tables import EVENTS, FEATURE_TABLE, TILES
from features.tiles import fold
from jobs.runtime import cli, logs, streams
from jobs.runtime.lake import Lake
from jobs.runtime.session import spark_session
from jobs.runtime.settings import Settings, load_settings
from jobs.runtime.steps import Steps

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

    stream = lake.read_stream(EVENTS, settings.stream.max_files_per_trigger)
    return streams.start(stream, QUERY, process, settings, once=once)


def build(lake: Lake, events: DataFrame, rules: SessionRules, batch: streams.Batch) -> None:
    """One micro-batch: append the events' partial tiles, and the rows that they change in features.

    The two appends are independent and each happens once, so their order does not matter and a crash
    between them is mended when the batch runs again: the look-back never holds the batch's own tiles.
    """
    steps = Steps(QUERY, batch.number)
    tiles = fold(events).persist(StorageLevel.MEMORY_AND_DISK)
    try:
        with steps.step("fold"):
            spread = tiles.agg(
                F.unix_seconds(F.min("window_start")).alias("first"),
                F.unix_seconds(F.max("window_start")).alias("last"),
                F.approx_count_distinct("user_id", 0.1).alias("users"),
                F.count("*").alias("tiles"),
            ).collect()[0]
        if spread["first"] is None:
            return
        first, last = (datetime.fromtimestamp(spread[name], UTC) for name in ("first", "last"))
        since, until = look_back(first, last, rules)
        older = lake.read(TILES).where(
            (F.col("window_start") >= since) & (F.col("window_start") < until) & (F.col("batch_id") != batch.id)
        )
        rows = revised(tiles, older, rules, narrow=spread["users"] <= BROADCAST_USERS)

        def few(rows: DataFrame) -> DataFrame:
            return streams.in_few_files(rows, spread["tiles"])

        with steps.step("append"), ThreadPoolExecutor(max_workers=2) as pool:
            writes = [
                pool.submit(batch.append, lake, streams.stamped(few(tiles), batch), TILES),
                pool.submit(batch.append, lake, streams.stamped(few(rows), batch), FEATURE_TABLE),
            ]
            for write in writes:
                write.result()
    finally:
        tiles.unpersist()
        steps.report()


def look_back(first: datetime, last: datetime, rules: SessionRules) -> tuple[datetime, datetime]:
    """Times from and before which tiles bear on the minutes ``first`` to ``last``.

    In whole hours, so that most batches read by the same condition: Spark need not compile it anew.
    """
    span, hour = timedelta(minutes=rules.look_back), timedelta(hours=1)
    return (first - span).replace(minute=0), (last + span + hour).replace(minute=0)


def revised(tiles: DataFrame, older: DataFrame, rules: SessionRules, *, narrow: bool = True) -> DataFrame:
    """Feature rows that the new partial ``tiles`` make or change, given the ``older`` ones of the look-back."""
    near = older
    if narrow:
        # By a number, which is looked up faster than a text (decision 020). Tiles of somebody else with the same number
        # would be read for nothing, and change no row. A semi-join keeps each tile once.
        users = F.broadcast(tiles.select(F.xxhash64("user_id").alias("number")))
        near = older.join(users, F.xxhash64("user_id") == F.col("number"), "left_semi")
    all_tiles = near.select(*tiles.columns, F.lit(False).alias("fresh")).unionByName(
        tiles.withColumn("fresh", F.lit(True))
    )
    return behavior(all_tiles, rules)


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
