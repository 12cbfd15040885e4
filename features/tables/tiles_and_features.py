"""Tiles, and the feature rows that are made of them."""

from __future__ import annotations

from pyspark.sql.types import (
    BooleanType,
    DoubleType,
    LongType,
    StringType,
    StructType,
    TimestampType,
)

from features.counts import COUNTS
from features.definitions import FEATURES
from features.tables.table import BATCH, Table, column

TILE_KEYS = ("user_id", "window_start", "page")

TILES = Table(
    name="tiles",
    about="associative partial sums per user, minute and page; several rows of a key add up",
    schema=StructType(
        [
            column("user_id", StringType(), "who acted", required=True),
            column("window_start", TimestampType(), "start of the event-time minute", required=True),
            column("page", StringType(), "where", required=True),
            *[column(count.name, LongType(), count.meaning, required=True) for count in COUNTS],
            column(
                "second_mask",
                LongType(),
                "bit s is set where second s of the minute saw an event (bit or)",
                required=True,
            ),
            column("session_mark", LongType(), "second and hash of the sender's newest session id in the minute (max)"),
            column("last_received_at", TimestampType(), "newest arrival in Kafka (max)"),
            *BATCH,
        ]
    ),
    keys=TILE_KEYS,
    cluster_by=("window_start", "user_id"),
    time="window_start",
    looked_up=True,
)

FEATURE_COLUMNS = [column(f.name, DoubleType(), f.meaning) for f in FEATURES]

FEATURE_ROW = [
    column("user_id", StringType(), "who acted", required=True),
    column("window_start", TimestampType(), "start of the event-time minute", required=True),
    column("session_start", TimestampType(), "first active minute of the session the minute belongs to", required=True),
    column("session_is_split", BooleanType(), "the session was cut by its longest length", required=True),
    *FEATURE_COLUMNS,
    column("last_received_at", TimestampType(), "newest arrival in Kafka among the minute's events"),
    column("feature_version", StringType(), "version of the feature set that computed the row", required=True),
]

FEATURE_TABLE = Table(
    name="features",
    about="one row per user and minute, revised while events of the minute or its past arrive",
    schema=StructType([*FEATURE_ROW, *BATCH]),
    keys=("user_id", "window_start"),
    cluster_by=("window_start", "user_id"),
    time="window_start",
    revised=True,
)
