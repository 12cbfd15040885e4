"""What mining reads of the tables besides a day's events, and the rows that it writes for a day."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from features.behavior import SessionRules
from features.tables import EVENTS, PATTERN_DAYS, PATTERN_MEMBERS, PATTERNS, SEGMENTS, TRANSITIONS, Table
from lake.rewrites import patiently
from lake.spark_tables import Lake
from patterns.context import Earlier, Known, Row
from patterns.day import Mined
from settings import Settings
from streams.rules import session_rules

ONE_DAY = timedelta(days=1)
RESULTS = (PATTERNS, SEGMENTS, TRANSITIONS, PATTERN_MEMBERS)
WRITTEN = (*RESULTS, PATTERN_DAYS)
"""The last one last: a day whose row in pattern_days is there has all the others."""


def days_to_mine(lake: Lake, settings: Settings) -> list[datetime]:
    """Days with events that are not mined yet, or were mined before all their events had come.

    Of days that are mined only those within ``patterns.trend_days`` of the newest event are looked at again.
    """
    known = lake.read(PATTERN_DAYS).select("day", "events", "is_complete").collect()
    mined = {utc(row["day"]): row for row in known}
    first = min(mined, default=None)
    events = lake.read(EVENTS)
    newest = events.agg(F.max("timestamp")).collect()[0][0]
    if newest is None:
        return []
    since = start_of_day(utc(newest)) - settings.patterns.trend_days * ONE_DAY
    if first is not None:
        unseen = events.where((F.col("timestamp") < since) & ~_days_of().isin(list(mined)))
        events = events.where(F.col("timestamp") >= since).unionByName(unseen)
    counted = events.groupBy(_days_of().alias("day")).count().collect()
    days = []
    for row in counted:
        day = utc(row["day"])
        before = mined.get(day)
        has_ended = utc(newest) >= end_of(day, session_rules(settings))
        if before is None or before["events"] != row["count"] or (has_ended and not before["is_complete"]):
            days.append(day)
    return sorted(days)


def earlier(lake: Lake, settings: Settings, day: datetime) -> Earlier:
    """What was found on the mined days before ``day``, up to ``patterns.trend_days`` of them.

    Segments of ``day`` itself count as known too, so that they keep their ids when it is mined again.
    """
    since = day - settings.patterns.trend_days * ONE_DAY
    days = lake.read(PATTERN_DAYS).where((F.col("day") >= since) & (F.col("day") < day)).collect()
    kinds = (
        lake.read(PATTERN_DAYS).where(F.col("day") <= day).select("day", "page_kinds").orderBy(F.desc("day")).first()
    )
    paths: dict[str, dict[datetime, int]] = {}
    within = (F.col("day") >= since) & (F.col("day") < day)
    for row in lake.read(PATTERNS).where(within).select("pattern_id", "day", "sessions").collect():
        paths.setdefault(row["pattern_id"], {})[utc(row["day"])] = row["sessions"]
    segments: dict[tuple[str, str], list[Any]] = {}
    seen = lake.read(SEGMENTS).where((F.col("day") >= since) & (F.col("day") <= day))
    columns = ("day", "unit", "segment_id", "name", "centre", "acts", "first_day", "members")
    for row in seen.select(*columns).orderBy("day").collect():
        segments.setdefault((row["unit"], row["segment_id"]), []).append(row)
    return Earlier(
        page_kinds=tuple(kinds["page_kinds"]) if kinds else (),
        days={
            utc(row["day"]): {"path": row["mined_sessions"], "session": row["sessions"], "user": row["users"]}
            for row in days
        },
        paths=paths,
        segments=tuple(_known(rows, day) for rows in segments.values()),
    )


def _known(rows: list[Any], day: datetime) -> Known:
    newest = rows[-1]
    return Known(
        unit=newest["unit"],
        segment_id=newest["segment_id"],
        name=newest["name"],
        centre=tuple(newest["centre"]),
        first_day=utc(newest["first_day"]),
        members={utc(row["day"]): row["members"] for row in rows if utc(row["day"]) < day},
        acts={(act["action"], act["page"]): act["share"] for act in newest["acts"] or ()},
    )


def write_day(lake: Lake, settings: Settings, mined: Mined) -> None:
    """Write the rows of a day in the place of those that are there."""
    rows = {
        PATTERNS.name: mined.patterns,
        SEGMENTS.name: mined.segments,
        TRANSITIONS.name: mined.transitions,
        PATTERN_DAYS.name: [mined.day],
    }

    def write(table: Table) -> None:
        frame = mined.members if table is PATTERN_MEMBERS else frame_of(lake.spark, table, rows[table.name])
        _replace_day(lake, settings, table, frame.coalesce(1), mined.day["day"])

    with ThreadPoolExecutor(max_workers=4) as pool:
        list(pool.map(write, RESULTS))
    write(PATTERN_DAYS)


def frame_of(spark: SparkSession, table: Table, rows: list[Row]) -> DataFrame:
    """Rows by column name as a frame of ``table``."""
    return spark.createDataFrame([[row[name] for name in table.columns] for row in rows], table.schema)


def _replace_day(lake: Lake, settings: Settings, table: Table, rows: DataFrame, day: datetime) -> None:
    where = f"day = TIMESTAMP '{day:%Y-%m-%d %H:%M:%S}'"
    patiently(lambda: lake.replace_where(rows, table, where), settings.maintenance.conflict_retries)


def _days_of() -> Any:
    return F.date_trunc("day", F.col("timestamp"))


def start_of_day(time: datetime) -> datetime:
    return time.replace(hour=0, minute=0, second=0, microsecond=0)


def end_of(day: datetime, rules: SessionRules) -> datetime:
    """When the last session that starts on ``day`` has ended for certain."""
    return day + ONE_DAY + timedelta(minutes=rules.longest)


def utc(time: datetime) -> datetime:
    return time.astimezone(UTC)
