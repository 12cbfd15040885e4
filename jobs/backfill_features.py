"""Compute features anew over history, by the same function as the stream: after a new or changed feature.

Reads events (with --from tiles: tiles), identities and the checkpoint of build_features; appends revisions to features,
and to identities what it lacks.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

import typer
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from features.behavior import SessionRules, behavior, together
from features.definitions import FEATURE_VERSION
from features.lending import Lending
from features.tables import ERASURES, EVENTS, FEATURE_TABLE, TILES
from jobs.shared.links import links_as_of, replace_links
from jobs.shared.recompute import (
    Span,
    append_revisions,
    expected_rows,
    folded_events,
    revision_time,
    span_of,
    written_rows,
)
from lake.rewrites import alone
from lake.spark_tables import Lake
from privacy.erased_people import Privacy
from settings import Settings, cli, load_settings
from settings.times import time_range
from spark.session import spark_session
from streams.flow import FEATURES
from streams.progress import reached
from streams.rules import session_rules

Source = Literal["events", "tiles"]
Tell = Callable[[str], None]


def backfill(
    spark: SparkSession,
    lake: Lake,
    settings: Settings,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    slices: int = 16,
    source: Source = "events",
    tell: Tell = lambda _: None,
) -> int:
    """Append a revision of every user-minute in ``[since, until)``; returns how many rows.

    Users are taken in ``slices`` by the hash of their id, one after the other, so that memory holds one slice's
    look-back. All slices stand for the same state, the newest finished batch of build_features: a revision that the
    stream writes meanwhile stays the newest. Run again after a crash, it appends once more; the newest wins.
    Rows of minutes that the source knows nothing of are left as they are; check_parity finds them.

    ``source`` tiles is enough for a new feature of the same tiles and reads less; a new column of tiles is
    only filled for new events, so a feature of it needs the events.
    """
    rules = session_rules(settings)
    run = f"backfill:{datetime.now(UTC).isoformat()}"
    with alone(spark, settings, "backfill_features"):
        position = reached(spark, settings, FEATURES.query)
        privacy, written = Privacy(lake, settings), written_rows(lake, position)
        if source == "events":
            rows = privacy.without_erased(folded_events(lake, position))
            known = span_of(rows, written)
        else:
            rows = privacy.without_erased(lake.read(TILES).where(position.settled(F.col("batch_id"), position.batch)))
            known = span_of(rows.withColumn("timestamp", F.col("window_start")), written)
        if known is None:
            return 0
        span = Span(max(since or known.since, known.since), min(until or known.until, known.until))
        if span.since >= span.until:
            return 0
        time, total = revision_time(position, written), 0
        linked = links_as_of(lake, settings, position, span, rows if source == "events" else None)
        replace_links(lake, linked, position, run, settings)
        for number in range(slices):
            users = _slice(rows, linked.lending, number, slices)
            if source == "events":
                fresh = expected_rows(users, rules, span, linked.lending)
            else:
                fresh = _rows_of_tiles(users, rules, span, linked.lending)
            fresh = fresh.persist(StorageLevel.MEMORY_AND_DISK)
            try:
                count = fresh.count()
                append_revisions(lake, fresh, f"{run}:{number}", time)
            finally:
                fresh.unpersist()
            total += count
            tell(f"slice {number + 1} of {slices}: {count:,} rows")
    return total


def _slice(rows: DataFrame, lending: Lending | None, number: int, slices: int) -> DataFrame:
    """The ``rows`` of a part of the users; who lends to somebody is in his part."""
    hashed = rows.withColumn("user_hash", F.xxhash64("user_id"))
    grouped = hashed if lending is None else together(hashed, lending)
    return grouped.where(F.pmod("user_hash", F.lit(slices)) == number).drop("user_hash")


def _rows_of_tiles(tiles: DataFrame, rules: SessionRules, span: Span, lending: Lending | None) -> DataFrame:
    back = span.since - timedelta(minutes=rules.look_back)
    near = tiles.where((F.col("window_start") >= F.lit(back)) & (F.col("window_start") < F.lit(span.until)))
    fresh = near.drop("batch_time", "batch_id").withColumn("fresh", F.col("window_start") >= F.lit(span.since))
    return behavior(fresh, rules, lending).where(F.col("window_start") >= F.lit(span.since))


def main(
    env: cli.Environment = "local",
    overrides: cli.Overrides = None,
    since: Annotated[
        str | None, typer.Option(help="First minute, ISO-8601 with offset; the oldest when left out.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="First minute not taken; after the newest when left out.")] = None,
    slices: Annotated[
        int, typer.Option(min=1, help="Parts of the users, one after the other; more need less memory.")
    ] = 16,
    source: Annotated[Source, typer.Option("--from", help="events; or tiles, where their columns suffice.")] = "events",
) -> None:
    """Recompute features over history. Reads events (or tiles), identities, a checkpoint; appends to features."""
    first, last = time_range(since, until)
    settings = load_settings(env, overrides or ())
    spark = spark_session(settings)
    lake = Lake(spark, settings.storage.root)
    lake.create(EVENTS, TILES, FEATURE_TABLE, ERASURES)
    rows = backfill(spark, lake, settings, since=first, until=last, slices=slices, source=source, tell=typer.echo)
    typer.echo(f"{rows:,} rows of feature version {FEATURE_VERSION} appended.")


if __name__ == "__main__":
    cli.run(main)
