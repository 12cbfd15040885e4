"""Find common behaviour, day by day: frequent paths, steps against chance, and segments of sessions and users.

Reads tables events and scores, and what it wrote for the days before; writes pattern_days, patterns, segments,
transitions and pattern_members (a day mined again replaces its rows), and a page with pictures for each day.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from features.behavior import SessionRules
from features.errors import UsageError
from features.parity import rows_of_events
from features.revisions import latest
from features.tables import (
    ERASURES,
    EVENTS,
    PATTERN_DAYS,
    PATTERN_MEMBERS,
    PATTERNS,
    SCORES,
    SEGMENTS,
    TRANSITIONS,
    Table,
)
from jobs.build_features import session_rules
from jobs.runtime import cli
from jobs.runtime.erasures import Privacy
from jobs.runtime.lake import Lake
from jobs.runtime.reports import write_report
from jobs.runtime.rewrites import alone, patiently
from jobs.runtime.session import spark_session
from jobs.runtime.settings import Settings, load_settings
from training.patterns.context import Earlier, Known, Options, Row
from training.patterns.day import Mined, mine_day
from training.patterns.report import report

ONE_DAY = timedelta(days=1)
FOUND = (PATTERNS, SEGMENTS, TRANSITIONS, PATTERN_MEMBERS)
WRITTEN = (*FOUND, PATTERN_DAYS)
"""The last one last: a day whose row in pattern_days is there has all the others."""


def options_of(settings: Settings) -> Options:
    """The settings that mining itself needs."""
    chosen = settings.patterns.model_dump(exclude={"reports", "trend_days"})
    return Options(**chosen)


def days_to_mine(lake: Lake, settings: Settings) -> list[datetime]:
    """Days with events that are not mined yet, or were mined before all their events had come.

    Of days that are mined only those within ``patterns.trend_days`` of the newest event are looked at again.
    """
    known = lake.read(PATTERN_DAYS).select("day", "events", "is_complete").collect()
    mined = {_utc(row["day"]): row for row in known}
    first = min(mined, default=None)
    events = lake.read(EVENTS)
    newest = events.agg(F.max("timestamp")).collect()[0][0]
    if newest is None:
        return []
    since = _day_of(_utc(newest)) - settings.patterns.trend_days * ONE_DAY
    if first is not None:
        unseen = events.where((F.col("timestamp") < since) & ~_days_of().isin(list(mined)))
        events = events.where(F.col("timestamp") >= since).unionByName(unseen)
    counted = events.groupBy(_days_of().alias("day")).count().collect()
    wanted = []
    for row in counted:
        day = _utc(row["day"])
        before = mined.get(day)
        has_ended = _utc(newest) >= _end(day, session_rules(settings))
        if before is None or before["events"] != row["count"] or (has_ended and not before["is_complete"]):
            wanted.append(day)
    return sorted(wanted)


def mine(lake: Lake, settings: Settings, day: datetime, folder: Path) -> tuple[Mined, Path] | None:
    """Mine one day, write its rows and its page into ``folder``; None when it has no events."""
    rules, privacy = session_rules(settings), Privacy(lake, settings)
    reach = timedelta(minutes=rules.look_back)
    all_events = privacy.without_erased(lake.read(EVENTS))
    near = all_events.where((F.col("timestamp") >= day - reach) & (F.col("timestamp") < _end(day, rules)))
    facts = near.agg(F.count_if((F.col("timestamp") >= day) & (F.col("timestamp") < day + ONE_DAY)).alias("events"))
    count = facts.collect()[0]["events"]
    if not count:
        return None
    newest = _utc(all_events.agg(F.max("timestamp")).collect()[0][0])

    def rows_of(events: DataFrame) -> DataFrame:
        return rows_of_events(events, rules, F.lit(day), F.lit(_end(day, rules)))

    scores = lake.read(SCORES).where((F.col("window_start") >= day) & (F.col("window_start") < _end(day, rules)))
    mined = mine_day(day, near, rows_of, latest(scores, SCORES), earlier(lake, settings, day), options_of(settings))
    mined.day.update(events=count, mined_at=datetime.now(UTC), is_complete=newest >= _end(day, rules))
    try:
        _write(lake, settings, mined)
        shown = mined.examples()
    finally:
        mined.release()
    made = report(mined.day, mined.segments, mined.patterns, mined.transitions, mined.walks, shown)
    return mined, write_report(folder, f"{day:%Y-%m-%d}", made)


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
        paths.setdefault(row["pattern_id"], {})[_utc(row["day"])] = row["sessions"]
    segments: dict[tuple[str, str], list[Any]] = {}
    seen = lake.read(SEGMENTS).where((F.col("day") >= since) & (F.col("day") <= day))
    wanted = ("day", "unit", "segment_id", "name", "centre", "first_day", "members")
    for row in seen.select(*wanted).orderBy("day").collect():
        segments.setdefault((row["unit"], row["segment_id"]), []).append(row)
    return Earlier(
        page_kinds=tuple(kinds["page_kinds"]) if kinds else (),
        days={
            _utc(row["day"]): {"path": row["mined_sessions"], "session": row["sessions"], "user": row["users"]}
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
        first_day=_utc(newest["first_day"]),
        members={_utc(row["day"]): row["members"] for row in rows if _utc(row["day"]) < day},
    )


def _write(lake: Lake, settings: Settings, mined: Mined) -> None:
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
        list(pool.map(write, FOUND))
    write(PATTERN_DAYS)


def frame_of(spark: SparkSession, table: Table, rows: list[Row]) -> DataFrame:
    """Rows by column name as a frame of ``table``."""
    return spark.createDataFrame([[row[name] for name in table.columns] for row in rows], table.schema)


def _replace_day(lake: Lake, settings: Settings, table: Table, rows: DataFrame, day: datetime) -> None:
    where = f"day = TIMESTAMP '{day:%Y-%m-%d %H:%M:%S}'"
    writer = rows.write.format("delta").mode("overwrite").option("replaceWhere", where)
    patiently(lambda: writer.save(lake.path(table)), settings.maintenance.conflict_retries)


def _days_of() -> Any:
    return F.date_trunc("day", F.col("timestamp"))


def _day_of(time: datetime) -> datetime:
    return time.replace(hour=0, minute=0, second=0, microsecond=0)


def _end(day: datetime, rules: SessionRules) -> datetime:
    """When the last session that starts on ``day`` has ended for certain."""
    return day + ONE_DAY + timedelta(minutes=rules.longest)


def _utc(time: datetime) -> datetime:
    return time.astimezone(UTC)


def parsed_day(text: str) -> datetime:
    """A day from the command line.

    Raises:
        UsageError: it is none.
    """
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise UsageError(f"--day {text!r} is no day; needed: year, month and day, for example 2026-03-01.") from None


@contextmanager
def _tables(spark: SparkSession, settings: Settings) -> Iterator[Lake]:
    lake = Lake(spark, settings.storage.root)
    lake.create(EVENTS, SCORES, ERASURES, *WRITTEN)
    with alone(spark, settings, "mine_patterns"):
        yield lake


def mine_due(
    spark: SparkSession, settings: Settings, days: Sequence[datetime] = (), folder: Path | None = None
) -> Iterator[str]:
    """Mine ``days``, or else the days that are due; gives lines about what was found as it goes.

    Pages go to ``folder``, or else to ``patterns.reports``.
    """
    with _tables(spark, settings) as lake:
        wanted = days or days_to_mine(lake, settings)
        if not wanted:
            yield "There is no day to mine: every day with events is mined. Name one with --day to mine it again."
        for each in wanted:
            found = mine(lake, settings, each, folder or Path(settings.patterns.reports))
            if found is None:
                yield f"{each:%Y-%m-%d}: no events."
                continue
            yield from found[0].summary()
            yield f"  page: {found[1]}"


def main(
    env: cli.Environment = "local",
    overrides: cli.Overrides = None,
    day: Annotated[
        list[str] | None,
        typer.Option("--day", help="Mine this UTC day (again), e.g. 2026-03-01; may be repeated. Default: days due."),
    ] = None,
    reports: Annotated[
        Path | None, typer.Option("--report", help="Folder for pages and pictures; default: patterns.reports.")
    ] = None,
) -> None:
    """Find common behaviour by day. Reads events, scores; writes patterns, segments, transitions and a report."""
    chosen = [parsed_day(text) for text in dict.fromkeys(day or [])]
    settings = load_settings(env, overrides or ())
    for line in mine_due(spark_session(settings), settings, chosen, reports):
        typer.echo(line)


if __name__ == "__main__":
    cli.run(main)
