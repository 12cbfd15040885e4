"""The tiles of the near past that a micro-batch of build_features needs beside its own."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from features.behavior import SessionRules
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
        people: ``user_id``; ``first`` and ``last``, the times in microseconds of some of his events that are no further
            apart than the look-back.

    In whole hours, so that most people of a batch have the same.
    """
    span, hour = look_back_micros(rules), 60 * MINUTE_MICROS
    codes = people["user_id"].combine_chunks().dictionary_encode()
    user, first, last = codes.indices.to_numpy(), people["first"].to_numpy(), people["last"].to_numpy()
    order = np.lexsort((first, user))
    user, since, until = user[order], (first[order] - span) // hour * hour, ((last[order] + span) // hour + 1) * hour
    apart = (np.diff(user) != 0) | (since[1:] > until[:-1])
    begins = np.flatnonzero(np.concatenate(([True], apart)))
    ends = np.append(begins[1:], len(user)) - 1
    names = codes.dictionary.take(pa.array(user[begins]))
    return pa.table({"user_id": names, "since": since[begins], "until": until[ends]})


def older_and_new(lake: Lake, tiles: DataFrame, selection: Selection) -> DataFrame:
    """The new partial ``tiles``, marked ``fresh``, and those of the look-back in the ``selection``."""
    is_few = pc.count_distinct(selection.spans["user_id"]).as_py() <= FEW_USERS
    if is_few and (near := lake.read_people(TILES, tiles.columns, selection)) is not None:
        return with_older(tiles, near, narrow=False)
    at = F.col("window_start")
    windows = [
        (at >= F.timestamp_micros(F.lit(since))) & (at < F.timestamp_micros(F.lit(until)))
        for since, until in selection.windows(MAX_WINDOWS)
    ]
    inside = reduce(Column.__or__, windows)
    return with_older(tiles, lake.read(TILES).where(inside & (F.col("batch_id") != selection.not_batch)), narrow=is_few)


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
