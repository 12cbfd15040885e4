"""The tiles of the near past that a micro-batch of build_features needs beside its own."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from features.behavior import SessionRules
from features.hashing import xxhash64
from features.merging import MINUTE_MICROS
from features.tables import TILES
from lake.person_rows import Selection
from lake.spark_tables import Lake

FEW_USERS = 200_000
"""Of up to so many users of a batch only their own look-back is read; of more, everybody's."""
MAX_WINDOWS = 16
"""Times apart from each other that are asked of Spark in one condition."""


def look_back_micros(rules: SessionRules) -> int:
    """Microseconds of the look-back."""
    return rules.look_back * MINUTE_MICROS


def look_back(people: pa.Table, rules: SessionRules) -> pa.Table:
    """Spans of time whose tiles bear on people's events, as :class:`~lake.person_rows.Selection` has them.

    Of each user the times around his own events: somebody who sends one event of years ago has a span there and one
    here, and nobody else has any more than his near past.

    Args:
        people: ``user_id``; ``first`` and ``last``, times in microseconds between which he has events, or rows that are
            to be made anew; each user may have several, of any length.

    In whole hours, so that most people of a batch have the same.
    """
    span, hour = look_back_micros(rules), 60 * MINUTE_MICROS
    codes = people["user_id"].combine_chunks().dictionary_encode()
    user, first, last = codes.indices.to_numpy(), people["first"].to_numpy(), people["last"].to_numpy()
    order = np.lexsort((first, user))
    user, since, until = user[order], (first[order] - span) // hour * hour, ((last[order] + span) // hour + 1) * hour
    # A long span may hold shorter ones that begin later.
    until = pd.Series(until).groupby(user).cummax().to_numpy()
    apart = (np.diff(user) != 0) | (since[1:] > until[:-1])
    begins = np.flatnonzero(np.concatenate(([True], apart)))
    ends = np.append(begins[1:], len(user)) - 1
    names = codes.dictionary.take(pa.array(user[begins]))
    return pa.table({"user_id": names, "since": since[begins], "until": until[ends]})


def with_near_tiles(lake: Lake, tiles: DataFrame, selection: Selection) -> DataFrame:
    """The new partial ``tiles``, marked ``fresh``, and those of the look-back in the ``selection``."""
    near = near_tiles(lake, selection).withColumn("fresh", F.lit(False))
    return near.unionByName(tiles.withColumn("fresh", F.lit(True)))


def near_tiles(lake: Lake, selection: Selection) -> DataFrame:
    """Tiles of the look-back (table tiles without the batch's columns): those of the ``selection``, at least.

    Of users who are not in it there may be some, too, which change no row.
    """
    columns = [name for name in TILES.columns if name not in ("batch_time", "batch_id")]
    is_few = pc.count_distinct(selection.spans["user_id"]).as_py() <= FEW_USERS
    if is_few and (near := lake.read_people(TILES, columns, selection)) is not None:
        return near
    at = F.col("window_start")
    windows = [
        (at >= F.timestamp_micros(F.lit(since))) & (at < F.timestamp_micros(F.lit(until)))
        for since, until in selection.windows(MAX_WINDOWS)
    ]
    inside = reduce(Column.__or__, windows)
    tiles = lake.read(TILES).where(inside & (F.col("batch_id") != selection.not_batch)).select(columns)
    return of_users(tiles, selection.spans["user_id"]) if is_few else tiles


def of_users(tiles: DataFrame, users: pa.ChunkedArray) -> DataFrame:
    """Those ``tiles`` of the ``users`` before they are shuffled; of somebody else a few may be left.

    By a number, which is looked up faster than a text (decision 020). A semi-join keeps each tile once.
    """
    numbers = pa.table({"number": xxhash64(pc.unique(users))})
    few = F.broadcast(tiles.sparkSession.createDataFrame(numbers))
    return tiles.join(few, F.xxhash64("user_id") == F.col("number"), "left_semi")
