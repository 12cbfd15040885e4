"""Tiles to features: one row per user and minute, from the user's tiles over a bounded look-back.

The function looks at no tile outside the look-back, at no later minute, and at nothing but its input, so
stream and batch give the same numbers to the bit.

Sessions
--------
A minute opens a new session when the user was idle for more than ``gap`` minutes before it, or, where the
sender gives session ids, when the id changes (then a pause of up to ``longest`` does not end it). A session that
reaches ``longest`` minutes is cut there, and every further part is cut where the clock is a multiple of
``longest`` since 1970. The cut needs only a bounded past, however long the user has been active; counting on
from the true start would need all of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import BooleanType, DoubleType, LongType, StringType, StructField, StructType

from features.columns import MINUTE, minute_number, shaped
from features.definitions import FEATURE_NAMES, FEATURE_VERSION
from features.kernel import rows_of
from features.tables import FEATURE_ROW

CHUNK = 65_536
"""Tiles handed to the kernel at once; whole users only, so one user's look-back must fit in memory."""


@dataclass(frozen=True)
class SessionRules:
    """Lengths in minutes: idle time that ends a session, its longest length, and the user's own past."""

    gap: int = 30
    longest: int = 480
    own_past: int = 1440

    @property
    def look_back(self) -> int:
        """Minutes of tiles before a row that can change it.

        A page is new against the own past of the minute that first touched it, up to ``longest`` before the row.
        The cut needs two longest sessions before the row in sight, and the first minute in sight may itself follow
        a pause of up to ``longest`` that a session id bridged.
        """
        return self.longest + max(2 * self.longest, self.own_past)


def behavior(tiles: DataFrame, rules: SessionRules) -> DataFrame:
    """Feature rows (:data:`features.tables.FEATURE_ROW`) that the fresh ``tiles`` make or change.

    Args:
        tiles: partial or merged tiles (columns of the tiles table without the batch's). A boolean column
            ``fresh`` may tell new tiles from those that are there as look-back; without it all are fresh.
        rules: lengths of sessions and of the own past.

    A row is right when the tiles of its user over ``rules.look_back`` minutes before it are there. A fresh tile
    can change the rows of its user from its own minute to ``rules.look_back`` minutes later; these are returned.
    """
    fresh = F.col("fresh") if "fresh" in tiles.columns else F.lit(True)
    lean = tiles.select(
        "user_id",
        minute_number(F.col("window_start")).alias("minute"),
        F.xxhash64("page").alias("page"),
        *["events", "clicks", "views", "interactions", "second_mask"],
        F.coalesce("session_mark", F.lit(-1)).alias("session_mark"),
        F.coalesce(F.unix_micros("last_received_at"), F.lit(-1)).alias("received"),
        fresh.alias("fresh"),
    )
    # Sorting by a number first spares comparing long user names that begin alike.
    ordered = lean.repartition("user_id").sortWithinPartitions(F.xxhash64("user_id"), "user_id", "minute")
    lengths = np.array([rules.gap, rules.longest, rules.own_past, rules.look_back], np.int64)

    def compute(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for users in _whole_users(batches):
            yield _rows(users, lengths)

    rows = ordered.mapInArrow(compute, ROW).withColumns(
        {
            "window_start": F.timestamp_seconds(F.col("minute") * MINUTE),
            "session_start": F.timestamp_seconds(F.col("first_minute") * MINUTE),
            "last_received_at": F.when(F.col("received") >= 0, F.timestamp_micros("received")),
            "feature_version": F.lit(FEATURE_VERSION),
        }
    )
    return shaped(rows, StructType(FEATURE_ROW))


ROW = StructType(
    [
        StructField("user_id", StringType()),
        *[StructField(name, LongType()) for name in ("minute", "first_minute", "received")],
        StructField("session_is_split", BooleanType()),
        *[StructField(name, DoubleType()) for name in FEATURE_NAMES],
    ]
)


def _whole_users(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Cut the sorted stream of tiles into tables that end where a user ends."""
    waiting: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        waiting.append(batch)
        rows += batch.num_rows
        if rows < CHUNK:
            continue
        table = pa.Table.from_batches(waiting)
        last = int(_starts(table)[-2])
        if last > 0:
            yield table.slice(0, last)
        waiting, rows = table.slice(last).to_batches(), table.num_rows - last
    if rows:
        yield pa.Table.from_batches(waiting)


def _starts(tiles: pa.Table) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """First row of each user, and the number of rows."""
    users = tiles["user_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    changes = np.flatnonzero(np.diff(users)) + 1
    return np.concatenate(([0], changes, [tiles.num_rows])).astype(np.int64)


def _rows(tiles: pa.Table, lengths: np.ndarray[tuple[int], np.dtype[np.int64]]) -> pa.RecordBatch:
    columns = {name: tiles[name].to_numpy() for name in tiles.column_names if name != "user_id"}
    at, split, values = rows_of(columns, _starts(tiles), lengths)
    user_id = tiles["user_id"].combine_chunks().take(pa.array(at[:, 0]))
    return pa.RecordBatch.from_arrays(
        [
            user_id,
            *[pa.array(at[:, column]) for column in (1, 2, 3)],
            pa.array(split),
            *[pa.array(values[:, column], from_pandas=True) for column in range(values.shape[1])],
        ],
        names=ROW.fieldNames(),
    )
