"""Find common behaviour, day by day: frequent paths, steps against chance, and segments of sessions and users.

Reads tables events and scores, and what it wrote for the days before; writes pattern_days, patterns, segments,
transitions and pattern_members (a day mined again replaces its rows), and a page with pictures for each day.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from features.parity import rows_of_events
from features.revisions import latest
from features.tables import ERASURES, EVENTS, SCORES
from jobs.shared.days import parsed_day
from lake.rewrites import alone
from lake.spark_tables import Lake
from patterns.context import Options
from patterns.day import Mined, mine_day
from patterns.report import report
from patterns.report_files import write_report
from patterns.tables import ONE_DAY, WRITTEN, days_to_mine, earlier, end_of, utc, write_day
from privacy.erased_people import Privacy
from settings import Settings, cli, load_settings
from spark.session import spark_session
from streams.rules import session_rules


def options_of(settings: Settings) -> Options:
    """The settings that mining itself needs."""
    chosen = settings.patterns.model_dump(exclude={"reports", "trend_days"})
    return Options(**chosen)


def mine(lake: Lake, settings: Settings, day: datetime, folder: Path) -> tuple[Mined, Path] | None:
    """Mine one day, write its rows and its page into ``folder``; None when it has no events."""
    rules, privacy = session_rules(settings), Privacy(lake, settings)
    end, reach = end_of(day, rules), timedelta(minutes=rules.look_back)
    all_events = privacy.without_erased(lake.read(EVENTS))
    near = all_events.where((F.col("timestamp") >= day - reach) & (F.col("timestamp") < end))
    facts = near.agg(F.count_if((F.col("timestamp") >= day) & (F.col("timestamp") < day + ONE_DAY)).alias("events"))
    count = facts.collect()[0]["events"]
    if not count:
        return None
    newest = utc(all_events.agg(F.max("timestamp")).collect()[0][0])

    def feature_rows(events: DataFrame) -> DataFrame:
        return rows_of_events(events, rules, F.lit(day), F.lit(end))

    scores = lake.read(SCORES).where((F.col("window_start") >= day) & (F.col("window_start") < end))
    before, options = earlier(lake, settings, day), options_of(settings)
    mined = mine_day(day, near, feature_rows, latest(scores, SCORES), before, options)
    mined.day.update(events=count, mined_at=datetime.now(UTC), is_complete=newest >= end)
    try:
        write_day(lake, settings, mined)
        shown = mined.examples()
    finally:
        mined.release()
    made = report(mined.day, mined.segments, mined.patterns, mined.transitions, mined.walks, shown)
    return mined, write_report(folder, f"{day:%Y-%m-%d}", made)


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
        due = days or days_to_mine(lake, settings)
        if not due:
            yield "There is no day to mine: every day with events is mined. Name one with --day to mine it again."
        for each in due:
            result = mine(lake, settings, each, folder or Path(settings.patterns.reports))
            if result is None:
                yield f"{each:%Y-%m-%d}: no events."
                continue
            mined, page = result
            yield from mined.summary()
            yield f"  page: {page}"


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
    chosen = [parsed_day(text, "--day") for text in dict.fromkeys(day or [])]
    settings = load_settings(env, overrides or ())
    for line in mine_due(spark_session(settings), settings, chosen, reports):
        typer.echo(line)


if __name__ == "__main__":
    cli.run(main)
