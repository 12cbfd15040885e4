"""Recompute tiles, links and features from the events, compare them with what the streams wrote, repair on demand.

Reads events, tiles, identities, features, scores and the checkpoints of build_features and score_features; writes
parity_reports, and with --repair tiles, identities and features. Exit code 1 when anything differs.
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

from features.parity import (
    ALL,
    KEYS,
    OF_LINKS,
    OF_SCORES,
    OF_TILES,
    compare,
    corrections,
    report,
    report_whole,
    unscored,
)
from features.revisions import latest
from features.tables import EVENTS, FEATURE_TABLE, PARITY_REPORTS, SCORES, TILES
from jobs.shared.differences import differing_scores, differing_tiles
from jobs.shared.links import links_as_of, replace_links
from jobs.shared.recompute import (
    Span,
    append_revisions,
    expected_rows,
    folded_events,
    replace_tiles,
    revision_time,
    span_of,
    written_rows,
)
from lake.rewrites import alone
from lake.spark_tables import Lake
from settings import Settings, cli, load_settings
from spark.session import spark_session
from streams.flow import FEATURES
from streams.progress import Position, reached
from streams.rules import session_rules


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
        """Feature rows, tiles, links and scores that are not what the events say."""
        whole = [check for check in self.checks if check.feature in (ALL, OF_TILES, OF_LINKS, OF_SCORES)]
        return int(sum(check.missing + check.extra + check.different for check in whole))


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
    position = reached(spark, settings, FEATURES.query)
    events, written = folded_events(lake, position), written_rows(lake, position)
    span = span_of(events, written, hours=hours)
    if span is None:
        return None
    inside = written.where(span.has(F.col("window_start")))
    linked = links_as_of(lake, settings, position, span, events)
    expected = expected_rows(events, session_rules(settings), span, linked.lending)
    compared = compare(expected, latest(inside, FEATURE_TABLE)).persist(StorageLevel.MEMORY_AND_DISK)
    tiles, merged = differing_tiles(lake, settings, events, position, span)
    scores, scored = differing_scores(lake, settings, span)
    try:
        wholes = report_whole(tiles, OF_TILES, merged.count()).unionByName(
            report_whole(scores, OF_SCORES, scored.count())
        )
        checks = [*report(compared).unionByName(wholes).collect(), linked.report]
        parity = Parity(position, span, checks)
        mend = repair and parity.differences > 0
        now = datetime.now(UTC)
        if mend:
            run = f"repair:{now.isoformat()}"
            replace_links(lake, linked, position, run, settings)
            replace_tiles(lake, tiles, position, run, settings)
            wrong = corrections(compared)
            again = unscored(scores).join(wrong.select(KEYS), KEYS, "left_anti")
            append_revisions(lake, wrong.unionByName(again), run, revision_time(position, inside))
        _record(lake, parity, now, repaired=mend)
    finally:
        for frame in (compared, tiles, scores):
            frame.unpersist()
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
    for row in sorted(wrong, key=lambda c: (c.feature != ALL, c.feature)):
        largest = "" if row.largest_difference is None else f"{row.largest_difference:g}"
        table.add_row(row.feature, *[f"{row[n]:,}" for n in ("rows", "missing", "extra", "different")], largest)
    console.print(table)
    console.print(
        f"{parity.span.since:%Y-%m-%d %H:%M} to {parity.span.until:%Y-%m-%d %H:%M} UTC, "
        f"as of batch {parity.position.batch}: "
        f"{parity.rows.rows:,} rows, {parity.differences:,} differences (rows, tiles, links and scores)."
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
    """Check features against events. Reads both and a checkpoint; writes parity_reports (--repair: what differs)."""
    settings = load_settings(env, overrides or ())
    spark = spark_session(settings)
    lake = Lake(spark, settings.storage.root)
    lake.create(EVENTS, TILES, FEATURE_TABLE, SCORES, PARITY_REPORTS)
    parity = check(spark, lake, settings, None if everything else hours, repair=repair)
    if parity is None:
        typer.echo("There are no events yet: nothing to compare.")
        return
    show(parity, Console(soft_wrap=True))
    if parity.differences:
        typer.echo(
            "The right revisions are appended."
            if repair
            else "Run it again with --repair to append the right revisions."
        )
        raise typer.Exit(1)


if __name__ == "__main__":
    cli.run(main)
