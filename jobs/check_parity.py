"""Recompute features from the events and compare them with what the stream wrote; repair on demand.

Reads events, features and the checkpoint of build_features; writes parity_reports, and with --repair features.
Exit code 1 when anything differs.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import typer
from pyspark import StorageLevel
from pyspark.sql import Row, SparkSession
from pyspark.sql import functions as F
from rich.console import Console
from rich.table import Table as Printed

from features.parity import ALL, compare, corrections, report
from features.revisions import latest
from features.tables import EVENTS, FEATURE_TABLE, PARITY_REPORTS
from jobs import build_features
from jobs.runtime import cli
from jobs.runtime.lake import Lake
from jobs.runtime.positions import Position, reached
from jobs.runtime.recompute import (
    Span,
    append_revisions,
    expected_rows,
    folded_events,
    revision_time,
    span_of,
    written_rows,
)
from jobs.runtime.rewrites import alone
from jobs.runtime.session import spark_session
from jobs.runtime.settings import Settings, load_settings


@dataclass(frozen=True)
class Parity:
    """What was compared and found; ``checks`` are rows of parity_reports without the run's columns."""

    position: Position
    span: Span
    checks: list[Row]

    @property
    def rows(self) -> Row:
        return next(check for check in self.checks if check.feature == ALL)

    @property
    def differences(self) -> int:
        return int(self.rows.missing + self.rows.extra + self.rows.different)


def check(
    spark: SparkSession, lake: Lake, settings: Settings, hours: int | None, *, repair: bool = False
) -> Parity | None:
    """Compare the last ``hours`` of event time (None: all); None when there is nothing yet to compare.

    Compared is a state that is settled: the events and revisions up to the newest finished batch of build_features.
    Events still on their way are not missing, and revisions that a running batch has written already are not extra.
    """
    with alone(spark, settings, "check_parity --repair") if repair else nullcontext():
        return _check(spark, lake, settings, hours, repair=repair)


def _check(spark: SparkSession, lake: Lake, settings: Settings, hours: int | None, *, repair: bool) -> Parity | None:
    position = reached(spark, settings, build_features.QUERY)
    events, written = folded_events(lake, position), written_rows(lake, position)
    span = span_of(events, written, hours=hours)
    if span is None:
        return None
    inside = written.where((F.col("window_start") >= F.lit(span.since)) & (F.col("window_start") < F.lit(span.until)))
    expected = expected_rows(events, build_features.session_rules(settings), span)
    compared = compare(expected, latest(inside, FEATURE_TABLE)).persist(StorageLevel.MEMORY_AND_DISK)
    try:
        parity = Parity(position, span, report(compared).collect())
        mend = repair and parity.differences > 0
        now = datetime.now(UTC)
        if mend:
            append_revisions(lake, corrections(compared), f"repair:{now.isoformat()}", revision_time(position, inside))
        _record(lake, parity, now, repaired=mend)
    finally:
        compared.unpersist()
    return parity


def _record(lake: Lake, parity: Parity, now: datetime, *, repaired: bool) -> None:
    run = {
        "run_id": f"parity:{now.isoformat()}",
        "checked_at": now,
        "as_of": f"{parity.position.query_id}:{parity.position.batch}",
        "since": parity.span.since,
        "until": parity.span.until,
        "repaired": repaired,
    }
    rows = [{**check.asDict(), **run} for check in parity.checks]
    frame = lake.spark.createDataFrame(
        [[row[name] for name in PARITY_REPORTS.columns] for row in rows], PARITY_REPORTS.schema
    )
    lake.append(frame.coalesce(1), PARITY_REPORTS, batch_id=str(run["run_id"]))


def show(parity: Parity, console: Console) -> None:
    """Print every column that differs, and the sum."""
    table = Printed("column", "compared", "missing", "extra", "different", "largest difference")
    wrong = [c for c in parity.checks if c.missing + c.extra + c.different > 0 or c.feature == ALL]
    for found in sorted(wrong, key=lambda c: (c.feature != ALL, c.feature)):
        largest = "" if found.largest_difference is None else f"{found.largest_difference:g}"
        table.add_row(found.feature, *[f"{found[n]:,}" for n in ("rows", "missing", "extra", "different")], largest)
    console.print(table)
    console.print(
        f"{parity.span.since:%Y-%m-%d %H:%M} to {parity.span.until:%Y-%m-%d %H:%M} UTC, "
        f"as of batch {parity.position.batch}: "
        f"{parity.rows.rows:,} rows, {parity.differences:,} differences."
    )


def main(
    env: cli.Environment = "local",
    overrides: cli.Overrides = None,
    hours: Annotated[int, typer.Option(min=1, help="Compare so many hours of event time up to the newest event.")] = 24,
    everything: Annotated[bool, typer.Option("--all", help="Compare all of it.")] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Append the right revisions; the stream scores them.")
    ] = False,
) -> None:
    """Check features against events. Reads both and a checkpoint; writes parity_reports (--repair: and features)."""
    settings = load_settings(env, overrides or ())
    spark = spark_session(settings)
    lake = Lake(spark, settings.storage.root)
    lake.create(EVENTS, FEATURE_TABLE, PARITY_REPORTS)
    parity = check(spark, lake, settings, None if everything else hours, repair=repair)
    if parity is None:
        typer.echo("There are no events yet: nothing to compare.")
        return
    show(parity, Console())
    if parity.differences:
        typer.echo(
            "The right revisions are appended."
            if repair
            else "Run it again with --repair to append the right revisions."
        )
        raise typer.Exit(1)


if __name__ == "__main__":
    cli.run(main)
