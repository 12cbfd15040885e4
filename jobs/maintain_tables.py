"""Keep tables small and fast: add up partial tiles, drop replaced revisions, compact, and delete old files.

Reads every table and the checkpoints; rewrites tables in place. Safe beside the streams.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import typer
from pyspark.sql import SparkSession
from rich.console import Console
from rich.table import Table as Printed

from features.tables import TABLES, TILES, Table
from lake.maintenance import Size, compact, size_of
from lake.rewrites import CONFLICTS, alone
from lake.spark_tables import Lake
from settings import Settings, cli, load_settings
from spark.session import spark_session
from streams.flow import reader_of
from streams.retention import drop_replaced, fold_tiles, retention_hours

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Upkeep:
    """What was done to a table, for the print."""

    table: Table
    before: Size
    after: Size
    notes: list[str]


def maintain(spark: SparkSession, lake: Lake, settings: Settings) -> list[Upkeep]:
    """Maintain every table that exists; one that is too busy is told so and left for the next run."""
    with alone(spark, settings, "maintain_tables"):
        return [_maintain(spark, lake, settings, table) for table in TABLES.values() if lake.exists(table)]


def _maintain(spark: SparkSession, lake: Lake, settings: Settings, table: Table) -> Upkeep:
    before, notes = size_of(lake, table), []
    chosen = settings.maintenance
    steps: list[Callable[[], str | None]] = []
    if table is TILES:
        steps.append(lambda: fold_tiles(lake, settings))
    if table.revised:
        steps.append(lambda: drop_replaced(lake, settings, table))
    steps.append(lambda: compact(lake, chosen, table))
    for step in steps:
        try:
            notes.append(step() or "")
        except CONFLICTS as conflict:
            log.info("table %s is too busy: %s", table.name, conflict)
            notes.append("too busy to be rewritten; the next run will")
    hours = retention_hours(spark, lake, settings, table)
    lake.vacuum(table, f"RETAIN {hours} HOURS")
    if hours > chosen.vacuum_hours:
        notes.append(f"files of {hours} hours kept: {reader_of(table)} has not read them yet")
    return Upkeep(table, before, size_of(lake, table), [note for note in notes if note])


def show(done: list[Upkeep], console: Console) -> None:
    table = Printed("table", "rows", "files", "bytes", "on disk", "")
    for one in done:
        pairs = [(getattr(one.before, n), getattr(one.after, n)) for n in ("rows", "files", "bytes", "on_disk")]
        table.add_row(
            one.table.name, *[f"{a:,}" if a == b else f"{a:,} → {b:,}" for a, b in pairs], "; ".join(one.notes)
        )
    console.print(table)


def main(env: cli.Environment = "local", overrides: cli.Overrides = None) -> None:
    """Fold, drop, compact, vacuum. Reads all tables and the checkpoints; rewrites tables in place."""
    settings = load_settings(env, overrides or ())
    spark = spark_session(settings)
    lake = Lake(spark, settings.storage.root)
    done = maintain(spark, lake, settings)
    if not done:
        typer.echo(f"There are no tables under {lake.root}.")
    show(done, Console())


if __name__ == "__main__":
    cli.run(main)
