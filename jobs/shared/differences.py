"""Tiles and scores that are not what the events say, as far as the streams have come."""

from __future__ import annotations

from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.parity import KEYS, compare_scores, compare_tiles
from features.revisions import latest
from features.tables import FEATURE_TABLE, SCORES, TILES
from features.tiles import fold, merge
from jobs.shared.recompute import Span, rows_and_waiting
from lake.log import NO_VERSION
from lake.spark_tables import Lake
from settings import Settings
from streams.flow import SCORING
from streams.progress import Position
from streams.progress import position as position_of
from streams.rules import session_rules


def differing_tiles(
    lake: Lake, settings: Settings, events: DataFrame, position: Position, span: Span
) -> tuple[DataFrame, DataFrame]:
    """Tiles that differ from what the events say, back to where rows of ``span`` look, and all that the events say."""
    near = span.with_look_back(session_rules(settings))
    expected = fold(events.where(near.has(F.col("timestamp"))))
    written = lake.read(TILES).where(position.settled(F.col("batch_id"), position.batch))
    actual = merge(written.where(near.has(F.col("window_start"))))
    return compare_tiles(expected, actual).persist(StorageLevel.MEMORY_AND_DISK), expected


def differing_scores(lake: Lake, settings: Settings, span: Span) -> tuple[DataFrame, DataFrame]:
    """Feature rows of ``span`` that score_features has passed without a score of theirs, and all that it has passed.

    A minute whose newest revision is still to be scored is not compared: maintenance may have dropped the revision that
    its score is of.
    """
    passed = position_of(lake.spark, settings, SCORING.query)
    if passed is None or passed.version == NO_VERSION:
        nothing = lake.spark.createDataFrame([], FEATURE_TABLE.schema)
        return compare_scores(nothing, nothing), nothing
    features, is_waiting = rows_and_waiting(lake, FEATURE_TABLE, "batch_id", passed)
    newest = latest(features.where(span.has(F.col("window_start"))), FEATURE_TABLE)
    due = newest.where(~is_waiting)
    scores = lake.read(SCORES).where(span.has(F.col("window_start")) & passed.settled(F.col("batch_id"), passed.batch))
    scored = latest(scores, SCORES).join(newest.where(is_waiting), KEYS, "left_anti")
    return compare_scores(due, scored).persist(StorageLevel.MEMORY_AND_DISK), due
