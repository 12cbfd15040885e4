"""Feature rows from the events alone, as far as the stream has come, and how revisions of them take their place."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from features.behavior import SessionRules
from features.lending import Lending
from features.parity import rows_of_events
from features.tables import EVENTS, FEATURE_TABLE, TILE_KEYS, TILES, Table
from lake.rewrites import replace_keys, still_alone
from lake.spark_tables import Lake
from settings import Settings
from streams.progress import Position, unread

MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Span:
    """Event-time minutes from ``since`` up to, not including, ``until``."""

    since: datetime
    until: datetime

    def has(self, time: Column) -> Column:
        return (time >= F.lit(self.since)) & (time < F.lit(self.until))

    def with_look_back(self, rules: SessionRules) -> Span:
        """What the rows of these minutes depend on."""
        return Span(self.since - timedelta(minutes=rules.look_back), self.until)


def folded_events(lake: Lake, position: Position) -> DataFrame:
    """The events that build_features has taken up to ``position``; later ones are still on their way."""
    return rows_read(lake, EVENTS, "ingest_id", position)


def rows_read(lake: Lake, table: Table, writer: str, position: Position) -> DataFrame:
    """Rows of ``table`` that the query at ``position`` has read; column ``writer`` says which batch wrote a row."""
    rows, is_waiting = rows_and_waiting(lake, table, writer, position)
    return rows.where(~is_waiting)


def rows_and_waiting(lake: Lake, table: Table, writer: str, position: Position) -> tuple[DataFrame, Column]:
    """All rows of ``table``, and whether the query of :func:`rows_read` has yet to read one of them."""
    # One version, from before the log is looked at: else each use of the rows would read what is there by then, and
    # nobody would know that the query has yet to come to it.
    rows = lake.read(table, lake.version(table))
    later = [append.batch for append in unread(lake, table, position) if append.batch]
    return rows, F.col(writer).isin(later) if later else F.lit(False)


def written_rows(lake: Lake, position: Position) -> DataFrame:
    """Revisions in table features as they were when build_features stood at ``position``."""
    return lake.read(FEATURE_TABLE).where(position.settled(F.col("batch_id"), position.batch))


def span_of(events: DataFrame, written: DataFrame, *, hours: int | None = None) -> Span | None:
    """All minutes that either knows, or the last ``hours`` of them; None when there are none."""
    bounds = [
        *events.agg(F.min("timestamp"), F.max("timestamp")).collect()[0],
        *written.agg(F.min("window_start"), F.max("window_start")).collect()[0],
    ]
    known = [time.astimezone(UTC) for time in bounds if time is not None]
    if not known:
        return None
    until = max(known).replace(second=0, microsecond=0) + MINUTE
    first = min(known).replace(second=0, microsecond=0)
    return Span(first if hours is None else max(first, until - timedelta(hours=hours)), until)


def expected_rows(events: DataFrame, rules: SessionRules, span: Span, lending: Lending | None = None) -> DataFrame:
    """What table features should hold in ``span``, reading no further back than the rows need."""
    near = events.where(span.with_look_back(rules).has(F.col("timestamp")))
    return rows_of_events(near, rules, F.lit(span.since), F.lit(span.until), lending)


def revision_time(position: Position, written: DataFrame) -> datetime:
    """A ``batch_time`` later than all that is ``written`` up to ``position``, earlier than all the stream writes after.

    The stream's next batch is planned only when the last one is finished, so its rows are later still: a repair
    that takes long cannot cover a revision that knows more events.
    """
    newest = written.agg(F.max("batch_time")).collect()[0][0]
    known = [position.time] + ([newest.astimezone(UTC)] if newest is not None else [])
    latest: datetime = max(known)
    return latest + timedelta(microseconds=1)


def replace_tiles(lake: Lake, differing: DataFrame, position: Position, batch_id: str, settings: Settings) -> None:
    """Put the right tiles in the place of ``differing`` ones (:func:`features.parity.compare_tiles`), in one commit.

    Of each key the partial tiles written up to ``position`` go, and one tile comes. Run again it does the same.
    """
    own = {"batch_time": F.lit(datetime.now(UTC)), "batch_id": F.lit(batch_id)}
    right = differing.where(F.col("expected").isNotNull()).select(*TILE_KEYS, "expected.*").withColumns(own)
    replace_keys(
        lake,
        TILES,
        differing.select(*TILE_KEYS),
        lambda _: right.select(*TILES.columns),
        settings.maintenance,
        where=position.settled(F.col("batch_id"), position.batch),
        inserts=True,
    )


def append_revisions(lake: Lake, rows: DataFrame, batch_id: str, time: datetime) -> None:
    """Append feature rows as revisions of ``time``, once per ``batch_id``; the scoring stream takes them too."""
    stamped = rows.withColumns({"batch_time": F.lit(time), "batch_id": F.lit(batch_id)})
    still_alone()
    lake.append(stamped.select(*FEATURE_TABLE.columns), FEATURE_TABLE, batch_id=batch_id)
