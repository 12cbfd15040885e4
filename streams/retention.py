"""What of a table can go beside the streams that write and read it: partial tiles, replaced revisions, old files."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from features.revisions import latest
from features.tables import TILES, Table
from features.tiles import merge
from lake.maintenance import UNDER_WAY
from lake.rewrites import replace
from lake.spark_tables import Lake
from settings import Settings
from streams.flow import reader_of, writer_of
from streams.progress import Position, position, unread

MARGIN = 1
"""Finished batches that are left alone all the same, in case a power cut loses the newest note of a checkpoint."""
FOLDED = "fold:"
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
ROWS_A_COMMIT = 5_000_000
"""Days are rewritten together up to so many rows, which are kept on the executors' disks meanwhile; a day is whole."""
DAYS_A_COMMIT = 2_000
"""... and so many days, which are named in one condition."""


def fold_tiles(lake: Lake, settings: Settings) -> str | None:
    """Add up partial tiles of the days of event time that have some, as many days in a commit as are worth it.

    A batch that runs again leaves out of its look-back the tiles that carry its own id. Added-up tiles carry none, so
    only tiles of batches that can never run again are taken: those that the checkpoint notes as finished, and of
    these not the newest; and of these only what was written long enough ago.
    """
    age = timedelta(minutes=settings.maintenance.fold_after_minutes)
    settled = _settled(lake, settings, TILES, age)
    if settled is None:
        return "tiles are not folded: build_features has no checkpoint"
    condition, position = settled
    old = lake.read(TILES).where(condition)
    is_partial = ~F.startswith("batch_id", F.lit(FOLDED))
    days = old.groupBy(_day(TILES)).agg(F.count("*").alias("rows"), F.count_if(is_partial).alias("partial"))
    saved = 0
    for part in _parts(days.where("partial > 0")):
        where = f"({condition}) AND {_within(part, TILES)}"

        def folded(rows: DataFrame) -> DataFrame:
            newest = rows.agg(F.max("batch_time")).collect()[0][0]
            own = {"batch_time": F.lit(newest), "batch_id": F.lit(f"{FOLDED}{position.query_id}:{position.committed}")}
            # In order of users: look-backs unpack less, and a read of one user skips most of a file.
            return merge(rows).withColumns(own).select(*TILES.columns).sortWithinPartitions("user_id", "window_start")

        saved += replace(lake, TILES, folded, where, settings.maintenance)
    return f"{saved:,} partial tiles folded away" if saved else None


def drop_replaced(lake: Lake, settings: Settings, table: Table) -> str | None:
    """Drop revisions whose successor is older than the conf'd age, so that any state within that age can be read."""
    age = settings.maintenance.keep_revisions_hours * HOUR
    if writer_of(table):
        settled = _settled(lake, settings, table, age)
        if settled is None:
            return None
        condition, _ = settled
    else:
        condition = _written_before(datetime.now(UTC) - max(age, UNDER_WAY))
    old = lake.read(table).where(condition)
    # The key is packed: a table may have a column of any name, risk has a day.
    subjects = old.select(F.struct(*table.keys).alias("key"), _day(table)).groupBy("key", "day").count()
    days = subjects.groupBy("day").agg(F.sum("count").alias("rows"), F.max("count").alias("most"))
    saved = 0
    for part in _parts(days.where("most > 1")):
        where = f"({condition}) AND {_within(part, table)}"

        saved += replace(
            lake, table, lambda rows: latest(rows, table).select(*table.columns), where, settings.maintenance
        )
    return f"{saved:,} replaced revisions dropped" if saved else None


def retention_hours(spark: SparkSession, lake: Lake, settings: Settings, table: Table) -> int:
    """Hours for which removed files stay: as conf'd, or since what the table's stopped stream has not read."""
    hours = settings.maintenance.vacuum_hours
    reader = reader_of(table)
    where = position(spark, settings, reader) if reader else None
    if where is None:
        return hours
    due = [append.at for append in unread(lake, table, where)]
    waits = datetime.now(UTC) - datetime.fromtimestamp(min(due), UTC) if due else timedelta()
    return max(hours, math.ceil(waits / HOUR) + 1)


def _settled(lake: Lake, settings: Settings, table: Table, age: timedelta) -> tuple[str, Position] | None:
    """A condition for rows that no batch will write or leave out again, written longer ago than ``age``.

    It also holds for no row that comes to the table later: rows that are not of the table's own query are named
    by their batches. So what a rewrite removes is what it has read, whatever is appended in between.
    """
    query = writer_of(table)
    where = position(lake.spark, settings, query) if query else None
    if where is None:
        return None
    until = where.committed - MARGIN
    own = f"batch_id LIKE '{where.query_id}:%'"
    before = datetime.now(UTC) - age
    others = lake.read(table).where(f"NOT ({own})").select("batch_id").distinct().collect()
    named = ", ".join("'" + row[0].replace("'", "\\'") + "'" for row in others) or "''"
    number = "TRY_CAST(substring_index(batch_id, ':', -1) AS BIGINT)"
    condition = f"{_written_before(before)} AND (({own} AND {number} <= {until}) OR batch_id IN ({named}))"
    return condition, where


def _written_before(time: datetime) -> str:
    return f"batch_time <= TIMESTAMP '{time:%Y-%m-%d %H:%M:%S.%f}'"


def _day(table: Table) -> Column:
    return F.date_trunc("day", table.time).alias("day")


def _parts(days: DataFrame) -> Iterator[list[datetime]]:
    """Days (columns ``day``, ``rows``) that are rewritten together, in order.

    A commit for each day would hold the lock, and other commits up, for as long as there are days: one sender with a
    broken clock makes thousands.
    """
    part: list[datetime] = []
    total = 0
    for day, rows in sorted((row["day"].astimezone(UTC), row["rows"]) for row in days.select("day", "rows").collect()):
        if part and (total + rows > ROWS_A_COMMIT or len(part) == DAYS_A_COMMIT):
            yield part
            part, total = [], 0
        part.append(day)
        total += rows
    if part:
        yield part


def _within(days: list[datetime], table: Table) -> str:
    """A condition for rows of these ``days``, which are in order; the first and last one let files be skipped."""
    span = f"{table.time} >= TIMESTAMP '{days[0]:%Y-%m-%d}' AND {table.time} < TIMESTAMP '{days[-1] + DAY:%Y-%m-%d}'"
    if len(days) == (days[-1] - days[0]) // DAY + 1:
        return span
    named = ", ".join(f"DATE '{day:%Y-%m-%d}'" for day in days)
    return f"{span} AND CAST({table.time} AS DATE) IN ({named})"
