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
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import StructType

from features.columns import minute_number
from features.counts import COUNT_NAMES
from features.definitions import FEATURE_NAMES, FEATURE_VERSION
from features.kernel import NONE, Lengths, rows_of
from features.lending import Lending
from features.merging import MINUTE_MICROS, Tiles, coded, constant, instants, merged
from features.tables import FEATURE_ROW

CHUNK = 131_072
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

    @property
    def lengths(self) -> Lengths:
        """As the kernel takes them."""
        return Lengths(self.gap, self.longest, self.own_past, self.look_back)


def behavior(tiles: DataFrame, rules: SessionRules, lending: Lending | None = None) -> DataFrame:
    """Feature rows (:data:`features.tables.FEATURE_ROW`) that the fresh ``tiles`` make or change.

    Args:
        tiles: partial or merged tiles (columns of the tiles table without the batch's). A boolean column
            ``fresh`` may tell new tiles from those that are there as look-back; without it all are fresh.
        rules: lengths of sessions and of the own past.
        lending: what is lent to users by ids that are linked to them.

    A row is right when the tiles of its user over ``rules.look_back`` minutes before it are there. A fresh tile
    can change the rows of its user from its own minute to ``rules.look_back`` minutes later; these are returned.
    """
    declared = StructType(FEATURE_ROW)
    plain = to_arrow_schema(declared, timezone="UTC")  # Spark reads no dictionaries

    def compute(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for users in whole_users(batches):
            yield from feature_rows(merged(users), rules, lending).cast(plain).to_batches()

    return by_user(tiles, lending).mapInArrow(compute, declared)


def by_user(tiles: DataFrame, lending: Lending | None = None) -> DataFrame:
    """``tiles`` as :func:`whole_users` takes them."""
    return gathered(lean(tiles), lending=lending)


def lean(tiles: DataFrame) -> DataFrame:
    """``tiles`` with the columns of :data:`features.merging.LEAN`; without a column ``fresh`` all are fresh."""
    return tiles.select(
        F.xxhash64("user_id").alias("user_hash"),
        "user_id",
        minute_number(F.col("window_start")).alias("minute"),
        "page",
        *[F.coalesce(name, F.lit(0)).alias(name) for name in COUNT_NAMES],  # null in tiles older than the column
        "second_mask",
        F.coalesce("session_mark", F.lit(NONE)).alias("session_mark"),
        F.coalesce(F.unix_micros("last_received_at"), F.lit(NONE)).alias("received"),
        (F.col("fresh") if "fresh" in tiles.columns else F.lit(True)).alias("fresh"),
    )


def gathered(tiles: DataFrame, partitions: int | None = None, lending: Lending | None = None) -> DataFrame:
    """Lean ``tiles`` with each user's in one piece, and those of the ids that lend to him beside them.

    Sorting by one number alone costs a quarter of sorting by names and minutes, which are put in order afterwards.
    """
    if lending is not None:
        tiles = together(tiles, lending)
    spread = tiles.repartition("user_hash") if partitions is None else tiles.repartition(partitions, "user_hash")
    return spread.sortWithinPartitions("user_hash")


def together(rows: DataFrame, lending: Lending) -> DataFrame:
    """``rows`` with the column ``user_hash`` of those who are linked that of their group."""
    groups = F.broadcast(rows.sparkSession.createDataFrame(lending.groups))
    same = rows.join(groups, "user_id", "left")
    return same.withColumn("user_hash", F.coalesce("user_group", "user_hash")).select(rows.columns)


def whole_users(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Cut the stream of tiles (:func:`by_user`) into tables that end where a user ends."""
    waiting: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        waiting.append(batch)
        rows += batch.num_rows
        if rows < CHUNK:
            continue
        table = pa.Table.from_batches(waiting)
        changes = np.flatnonzero(np.diff(table["user_hash"].to_numpy()))
        last = int(changes[-1]) + 1 if len(changes) else 0
        if last > 0:
            yield table.slice(0, last)
        waiting, rows = table.slice(last).to_batches(), table.num_rows - last
    if rows:
        yield pa.Table.from_batches(waiting)


def feature_rows(tiles: Tiles, rules: SessionRules, lending: Lending | None = None) -> pa.Table:
    """Columns :data:`features.tables.FEATURE_ROW` of the rows that the fresh ones of ``tiles`` make or change."""
    stretches = None if lending is None else lending.stretches(tiles, rules.look_back)
    if stretches is None:
        heads, values = rows_of(tiles.numbers, tiles.starts, rules.lengths)
        users = tiles.users[heads["first_tile"]]
    else:
        heads, values = rows_of(stretches.numbers, stretches.starts, rules.lengths)
        kept, users = stretches.kept(heads)
        heads, values = heads[kept], values[kept]
    received = heads["received"]
    columns = {
        "user_id": coded(users, tiles.user_names),
        "window_start": instants(heads["minute"] * MINUTE_MICROS),
        "session_start": instants(heads["first_minute"] * MINUTE_MICROS),
        "session_is_split": pa.array(heads["is_split"]),
        **{name: pa.array(values[:, i], from_pandas=True) for i, name in enumerate(FEATURE_NAMES)},
        "last_received_at": instants(received, absent=received < 0),
        "feature_version": constant(FEATURE_VERSION, len(heads)),
    }
    return pa.table({field.name: columns[field.name] for field in FEATURE_ROW})
