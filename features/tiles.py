"""Events to tiles, and tiles to fewer tiles.

A tile holds sums, a maximum and a bit mask for one user, minute and page. All are associative and
commutative, so partial tiles may be made of any split of the events, in any order, and merged at any time:
``merge(fold(a) + fold(b)) == merge(fold(a + b))``.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from features.columns import minute_of
from features.counts import COUNT_NAMES, COUNTS, Count
from features.tables import TILE_KEYS, TILES

SESSION_HASH_BITS = 57
MEASURES = [name for name in TILES.columns if name not in (*TILE_KEYS, "batch_time", "batch_id")]


FOLDED = ("user_id", "action", "page", "timestamp", "session_id", "received_at")
"""Columns of events that tiles are made of."""


def tiles_of_one(events: DataFrame) -> DataFrame:
    """Each of ``events`` (columns of the events table) as a partial tile: the tiles table's columns but the batch's."""
    minute = minute_of(F.col("timestamp")).alias("window_start")
    return events.select("user_id", minute, "page", *_measures_of_one_event())


def fold(events: DataFrame) -> DataFrame:
    """Fold ``events`` into one partial tile per user, minute and page."""
    return merge(tiles_of_one(events))


def merge(tiles: DataFrame) -> DataFrame:
    """Add up partial tiles: one row per user, minute and page."""
    return tiles.groupBy(*TILE_KEYS).agg(*_merged()).select(*TILE_KEYS, *MEASURES)


def _measures_of_one_event() -> list[Column]:
    second = F.pmod(F.unix_seconds(F.col("timestamp")), F.lit(60)).cast("int")
    return [
        *[_counted(count).cast("long").alias(count.name) for count in COUNTS],
        F.call_function("shiftleft", F.lit(1).cast("long"), second).alias("second_mask"),
        _session_mark(second, F.col("session_id")).alias("session_mark"),
        F.col("received_at").alias("last_received_at"),
    ]


def _counted(count: Count) -> Column:
    """What one event adds."""
    return F.lit(1) if count.action is None else F.col("action") == count.action


def _session_mark(second: Column, session_id: Column) -> Column:
    """The second above 57 bits of the id's hash: the greatest mark of a minute belongs to its newest session id.

    One long instead of a struct keeps the aggregation in Spark's hash path; see :func:`session_of`.
    """
    marked = F.shiftleft(second.cast("long"), SESSION_HASH_BITS).bitwiseOR(session_of(F.xxhash64(session_id)))
    return F.when(session_id.isNotNull(), marked)


def session_of(mark: Column) -> Column:
    """The hash of the session id in a session mark (long, 57 bits)."""
    return mark.bitwiseAND(F.lit((1 << SESSION_HASH_BITS) - 1))


def _merged() -> list[Column]:
    return [
        *[F.sum(name).alias(name) for name in COUNT_NAMES],
        F.bit_or("second_mask").alias("second_mask"),
        F.max("session_mark").alias("session_mark"),
        F.max("last_received_at").alias("last_received_at"),
    ]
