"""Does what the stream wrote equal what the events say? Pure comparison of two sets of feature rows.

A row whose minute has no events (``events_per_minute`` is 0) is a retraction: it takes back an earlier revision
that no event supports. It is as good as no row. Nothing else needs to know: it has no session, so scoring calls
it ``insufficient_data``, and its score takes back the earlier one in the same way.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from features.behavior import SessionRules, behavior
from features.columns import shaped
from features.definitions import FEATURE_NAMES, FEATURE_VERSION
from features.lending import Lending
from features.tables import FEATURE_ROW, FEATURE_TABLE, TILE_KEYS
from features.tiles import MEASURES, tiles_of_one

KEYS = list(FEATURE_TABLE.keys)
COMPARED = ["session_start", "session_is_split", "feature_version", *FEATURE_NAMES]
"""Columns that must be equal; arrival times may differ, since a late repetition changes no feature."""
ALL, OF_TILES, OF_LINKS, OF_SCORES = "(rows)", "(tiles)", "(links)", "(scores)"
"""Stand in a report for feature rows as a whole, for the tiles and links they are made of, and for their scores."""


def rows_of_events(
    events: DataFrame, rules: SessionRules, since: Column, until: Column, lending: Lending | None = None
) -> DataFrame:
    """Feature rows of the minutes in ``[since, until)`` (timestamps at a minute's start), from ``events`` alone.

    Right when ``events`` reach back to ``since`` less ``rules.look_back`` minutes. ``lending``: what is lent to users.
    """
    tiles = tiles_of_one(events).where(F.col("window_start") < until)
    rows = behavior(tiles.withColumn("fresh", F.col("window_start") >= since), rules, lending)
    return rows.where(F.col("window_start") >= since)


def supported(rows: DataFrame) -> DataFrame:
    """The rows that are no retractions."""
    return rows.where("events_per_minute > 0")


def compare(expected: DataFrame, written: DataFrame) -> DataFrame:
    """Both rows per key, side by side.

    Args:
        expected: rows (:data:`features.tables.FEATURE_ROW`) as the events say.
        written: the newest revisions.

    Returns:
        The key, the rows as structs ``expected`` and ``found``, and their numbers as arrays ``right`` and ``written``
        in the order of :data:`COMPARED`: one expression compares all of them.
    """
    columns = StructType(FEATURE_ROW).fieldNames()
    left = expected.select(*KEYS, F.struct(*columns).alias("expected"), _numbers().alias("right"))
    right = supported(written).select(*KEYS, F.struct(*columns).alias("found"), _numbers().alias("written"))
    both = left.join(right, KEYS, "full_outer")
    return both.select(*KEYS, "expected", "found", "right", "written", _differs().alias("differs"))


def report(compared: DataFrame) -> DataFrame:
    """One row per compared column and one for the whole rows (:data:`ALL`).

    Columns: feature, rows, missing, extra, different, largest_difference. ``missing`` counts keys (for a feature:
    values) that the events have and the table has not, ``extra`` the reverse, ``different`` unequal values of both.
    Times differ in minutes.
    """
    nothing = F.array_repeat(F.lit(None).cast("double"), len(COMPARED))
    whole = (
        F.array(F.when(F.col("expected").isNotNull(), 0.0)),
        F.array(F.when(F.col("found").isNotNull(), F.when(F.col("differs"), 1.0).otherwise(0.0))),
    )
    right, written = (
        F.concat(row, F.coalesce(numbers, nothing)) for row, numbers in zip(whole, ("right", "written"), strict=True)
    )
    pair, names = F.col("pair"), [ALL, *COMPARED]
    e, f = pair["right"], pair["written"]
    feature = F.element_at(F.array(*[F.lit(name) for name in names]), F.col("pos") + 1)
    measurable = ~feature.isin(ALL, "feature_version")
    return (
        compared.select(F.posexplode(F.arrays_zip(right.alias("right"), written.alias("written"))).alias("pos", "pair"))
        .groupBy("pos")
        .agg(
            F.count(F.lit(1)).alias("rows"),
            F.count_if(e.isNotNull() & f.isNull()).alias("missing"),
            F.count_if(e.isNull() & f.isNotNull()).alias("extra"),
            F.count_if(e != f).alias("different"),
            F.max(F.abs(e - f)).alias("largest_difference"),
        )
        .select(
            feature.alias("feature"),
            *["rows", "missing", "extra", "different"],
            F.when(measurable, F.col("largest_difference")).alias("largest_difference"),
        )
    )


def compare_tiles(expected: DataFrame, written: DataFrame) -> DataFrame:
    """Tiles as the events say beside those that are written, both merged, where they are not equal.

    Columns: the key, structs ``right`` and ``written`` of what is compared (arrival may differ), and ``expected``.
    """
    counted = [name for name in MEASURES if name != "last_received_at"]
    left = expected.select(*TILE_KEYS, F.struct(*counted).alias("right"), F.struct(*MEASURES).alias("expected"))
    right = written.select(*TILE_KEYS, F.struct(*counted).alias("written"))
    return left.join(right, list(TILE_KEYS), "full_outer").where("NOT (right <=> written)")


def compare_scores(features: DataFrame, scores: DataFrame) -> DataFrame:
    """Newest feature rows beside the newest scores of their keys, where the scores are of other numbers, or not there.

    Columns: the key, the feature row as a struct ``expected``, and arrays ``right`` and ``written``.
    """
    columns = StructType(FEATURE_ROW).fieldNames()
    left = features.select(*KEYS, F.struct(*columns).alias("expected"), _numbers().alias("right"))
    right = scores.select(*KEYS, _numbers().alias("written"))
    return left.join(right, KEYS, "full_outer").where("NOT (right <=> written)")


def report_whole(differing: DataFrame, feature: str, rows: int) -> DataFrame:
    """A row as :func:`report` has them, of what the two comparisons above found among ``rows``."""
    e, f = F.col("right"), F.col("written")
    return differing.agg(
        F.lit(feature).alias("feature"),
        F.lit(rows).cast("long").alias("rows"),
        F.count_if(e.isNotNull() & f.isNull()).alias("missing"),
        F.count_if(e.isNull() & f.isNotNull()).alias("extra"),
        F.count_if(e.isNotNull() & f.isNotNull()).alias("different"),
        F.lit(None).cast("double").alias("largest_difference"),
    )


def unscored(differing: DataFrame) -> DataFrame:
    """The feature rows (:data:`features.tables.FEATURE_ROW`) among what :func:`compare_scores` found."""
    return shaped(differing.where(F.col("expected").isNotNull()).select("expected.*"), StructType(FEATURE_ROW))


def corrections(compared: DataFrame) -> DataFrame:
    """The rows (:data:`features.tables.FEATURE_ROW`) that make the table right: the events' own, or retractions."""
    wrong = compared.where(F.col("expected").isNull() | F.col("found").isNull() | F.col("differs"))
    fields = StructType(FEATURE_ROW)
    rows = wrong.select(
        *[
            F.when(F.col("expected").isNotNull(), F.col(f"expected.{field.name}"))
            .otherwise(_retracted(field.name))
            .alias(field.name)
            for field in fields.fields
        ]
    )
    return shaped(rows, fields)


def _retracted(name: str) -> Column:
    if name in ("user_id", "window_start", "session_start"):
        return F.col(f"found.{'window_start' if name == 'session_start' else name}")
    constants = {"session_is_split": F.lit(False), "feature_version": F.lit(FEATURE_VERSION)}
    counts = ("events_per_minute", "clicks_per_minute", "views_per_minute", "interactions_per_minute", "session_events")
    return constants.get(name, F.lit(0.0) if name in counts else F.lit(None))


def _numbers() -> Column:
    """What is compared, as doubles; NaN stands for null, the start of a session is in minutes."""
    special = {
        "session_start": F.unix_seconds("session_start") / 60,
        "session_is_split": F.col("session_is_split").cast("double"),
        "feature_version": F.xxhash64("feature_version").cast("double"),
    }
    numbers = F.array(*[special.get(name, F.col(name)) for name in COMPARED])
    return F.transform(numbers, lambda number: F.when(~F.isnan(number), number))


def _differs() -> Column:
    """Both rows are there and not equal; null equals null."""
    unequal = F.exists(F.zip_with("right", "written", lambda e, f: ~e.eqNullSafe(f)), lambda wrong: wrong)
    return F.coalesce(unequal, F.lit(False))
