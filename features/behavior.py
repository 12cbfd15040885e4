"""Tiles to features: one row per user and minute, from the user's merged tiles over a bounded look-back.

The function looks at no row outside the look-back, at no later minute, and at nothing but its input, so
stream and batch give the same numbers to the bit: all sums are integers, divided once at the end.

Sessions
--------
A minute opens a new session when the user was idle for more than ``gap`` minutes before it, or, where the
sender gives session ids, when the id changes (then a pause does not end it). A session that reaches
``longest`` minutes is cut there, and every further part is cut where the clock is a multiple of ``longest``
since 1970. The cut needs only ``2 * longest`` minutes of the past, however long the user has been active;
counting from the true start would need all of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import Column, DataFrame, Window, WindowSpec
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from features.columns import MINUTE, in_schema_order, minute_number, ratio
from features.definitions import FEATURE_VERSION
from features.tables import FEATURE_ROW
from features.tiles import merge, session_of

BEFORE = -1
COUNTS = ("events", "clicks", "views", "interactions")
PAST = Window.unboundedPreceding


@dataclass(frozen=True)
class SessionRules:
    """Lengths in minutes: idle time that ends a session, its longest length, and the user's own past."""

    gap: int = 30
    longest: int = 480
    own_past: int = 1440

    @property
    def look_back(self) -> int:
        """Minutes of tiles before a row that can change it: three longest sessions, or the own past.

        The cut needs two longest sessions before the row to be in sight, and the first minute in sight may
        itself follow a pause of up to ``longest`` that the sender's session id bridged.
        """
        return max(3 * self.longest, self.own_past)


def behavior(tiles: DataFrame, rules: SessionRules) -> DataFrame:
    """Feature rows (:data:`features.tables.FEATURE_ROW`) of every user and minute in ``tiles``.

    A row is right when the tiles of its user over ``rules.look_back`` minutes before it are there.
    Partial tiles are merged first.
    """
    by_user = merge(tiles.repartition("user_id")).withColumn("minute", minute_number(F.col("window_start")))
    minutes = _per_minute(_with_page_novelty(_with_sessions(by_user, rules)))
    # The own past first: Spark then sorts once by user and minute and once by session and minute.
    summed = _with_session_sums(_with_pauses(_with_own_past(minutes, rules)))
    return (
        summed.withColumns(_features())
        .withColumn("session_start", F.timestamp_seconds(F.col("first_minute") * MINUTE))
        .withColumn("feature_version", F.lit(FEATURE_VERSION))
        .select(*in_schema_order(StructType(FEATURE_ROW)))
    )


def affected(features: DataFrame, rules: SessionRules) -> DataFrame:
    """Keep the rows that a change at ``changed_from`` to ``changed_to`` (minutes, per row) can have touched."""
    minute = minute_number(F.col("window_start"))
    return features.where((minute >= F.col("changed_from")) & (minute <= F.col("changed_to") + rules.look_back))


def _session(order: bool = True) -> WindowSpec:
    window = Window.partitionBy("user_id", "session_cut")
    return window.orderBy("minute") if order else window


def _with_sessions(tiles: DataFrame, rules: SessionRules) -> DataFrame:
    """Add ``session_cut`` (minute from which the session counts; identifies it) and ``session_is_split``."""
    order = Window.partitionBy("user_id").orderBy("minute")
    minute, longest = F.col("minute"), rules.longest
    opened = (
        tiles.withColumns(
            {
                "previous": F.max(F.struct("minute", "session_mark")).over(order.rangeBetween(PAST, BEFORE)),
                "own_mark": F.max("session_mark").over(order.rangeBetween(0, 0)),
            }
        )
        .withColumn("opens", _opens_session(rules))
        .withColumn("opened", F.max(F.when(F.col("opens"), minute)).over(order.rangeBetween(PAST, 0)))
    )
    grid = F.floor(minute / longest).cast("long") * longest
    is_split = minute - F.col("opened") >= longest
    return opened.withColumn("session_is_split", is_split).withColumn(
        "session_cut", F.when(is_split, F.greatest(grid, F.col("opened") + longest)).otherwise(F.col("opened"))
    )


def _opens_session(rules: SessionRules) -> Column:
    pause = F.col("minute") - F.col("previous.minute")
    before, now = session_of(F.col("previous.session_mark")), session_of(F.col("own_mark"))
    both_known = before.isNotNull() & now.isNotNull()
    return (
        F.when(F.col("previous").isNull() | (pause > rules.longest), True)
        .when(both_known, before != now)
        .otherwise(pause > rules.gap)
    )


def _with_page_novelty(tiles: DataFrame) -> DataFrame:
    """Add ``is_new_page`` (first minute of the page in the session) and ``page_events`` (its events so far)."""
    page = Window.partitionBy("user_id", "session_cut", "page").orderBy("minute")
    return tiles.withColumn("is_new_page", (F.row_number().over(page) == 1).cast("long")).withColumn(
        "page_events", F.sum("events").over(page.rowsBetween(PAST, 0))
    )


def _per_minute(tiles: DataFrame) -> DataFrame:
    """Collapse pages: one row per user and minute."""
    constants = ("window_start", "session_cut", "session_is_split")
    return tiles.groupBy("user_id", "minute").agg(
        *[F.sum(name).alias(name) for name in COUNTS],
        *[F.first(name).alias(name) for name in constants],
        F.bit_or("second_mask").alias("second_mask"),
        F.sum("is_new_page").alias("new_pages"),
        F.max("page_events").alias("top_page_events"),
        F.max("last_received_at").alias("last_received_at"),
    )


def _with_own_past(minutes: DataFrame, rules: SessionRules) -> DataFrame:
    """Add the user's own past as differences of running sums, so that each row costs the same."""
    order = Window.partitionBy("user_id").orderBy("minute")
    outside = order.rangeBetween(PAST, -rules.own_past - 1)
    totals = {"all_events": F.sum("events").over(order.rowsBetween(PAST, 0)), "all_minutes": F.row_number().over(order)}
    forgotten = {f"forgotten_{name}": F.coalesce(F.max(name).over(outside), F.lit(0)) for name in totals}
    return (
        minutes.withColumns(totals)
        .withColumns(forgotten)
        .withColumns(
            {
                "past_events": F.col("all_events") - F.col("events") - F.col("forgotten_all_events"),
                "past_minutes": F.col("all_minutes") - 1 - F.col("forgotten_all_minutes"),
            }
        )
    )


def _with_pauses(minutes: DataFrame) -> DataFrame:
    """Add pauses (seconds between neighbouring active seconds of a session) and what sums over them need."""
    order = _session()
    bits = F.bin("second_mask")
    start = F.col("minute") * MINUTE
    spelled = F.length(F.rtrim(bits, F.lit("0")))
    entered = F.col("entered_after")
    inner = _pauses_within(bits, F.col("seconds"))
    return (
        minutes.withColumns(
            {
                "seconds": F.bit_count("second_mask").cast("long"),
                "first_second": start + F.length(bits) - spelled,
                "last_second": start + F.length(bits) - 1,
            }
        )
        .withColumn("entered_after", F.col("first_second") - F.lag("last_second").over(order))
        .withColumn("pauses", F.when(entered.isNull(), inner).otherwise(F.concat(F.array(entered), inner)))
        .withColumn("last_pause", F.get("pauses", F.size("pauses") - 1))
        .withColumn("pause_before", F.lag("last_pause").over(order))
        .withColumn("walked", _walk(F.col("pauses"), F.col("pause_before")))
        .withColumn("least_pause", F.array_min("pauses"))
    )


def _pauses_within(bits: Column, seconds: Column) -> Column:
    """Pauses inside a minute, in order of time, from the mask written in binary (newest second first).

    "10010100": seconds 2, 4 and 7 were active; splitting at the ones leaves the zeros between them.
    """
    zeros = F.split(F.rtrim(bits, F.lit("0")), "1")
    inner = F.reverse(F.slice(zeros, F.lit(2), F.size(zeros) - 2))
    lengths = F.transform(inner, lambda run: F.length(run).cast("long") + 1)
    return F.when(seconds > 1, lengths).otherwise(F.array().cast("array<long>"))


def _walk(pauses: Column, previous: Column) -> Column:
    """Sum of squares, and how many pauses equal the one before (``previous`` comes before the first)."""
    none = F.lit(0).cast("long")
    start = F.struct(previous.alias("before"), none.alias("squares"), none.alias("equal"))

    def step(seen: Column, pause: Column) -> Column:
        is_equal = F.coalesce((seen["before"] == pause).cast("long"), none)
        return F.struct(
            pause.alias("before"),
            (seen["squares"] + pause * pause).alias("squares"),
            (seen["equal"] + is_equal).alias("equal"),
        )

    return F.aggregate(pauses, start, step)


def _with_session_sums(minutes: DataFrame) -> DataFrame:
    """Add running sums over the session's minutes so far."""
    so_far = _session().rowsBetween(PAST, 0)
    sums = {f"session_{name}": F.sum(name).over(so_far) for name in (*COUNTS, "seconds")}
    return minutes.withColumns(
        {
            **sums,
            "first_minute": F.min("minute").over(so_far),
            "minute_in_session": F.row_number().over(_session()),
            "distinct_pages": F.sum("new_pages").over(so_far),
            "top_page": F.max("top_page_events").over(so_far),
            "pause_begin": F.min("first_second").over(so_far),
            "pause_squares": F.sum("walked.squares").over(so_far),
            "pauses_equal": F.sum("walked.equal").over(so_far),
            "shortest_pause": F.min("least_pause").over(so_far),
        }
    )


def _features() -> dict[str, Column]:
    """Each feature of :mod:`features.definitions` from the sums; integers until the one division."""
    events, minutes = F.col("session_events"), F.col("minute") - F.col("first_minute") + 1
    pauses, span = F.col("session_seconds") - 1, F.col("last_second") - F.col("pause_begin")
    # n * sum(x^2) - sum(x)^2 is n^2 times the variance, exact in integers.
    spread = (pauses * F.col("pause_squares") - span * span).cast("double")
    return {
        "clicks_per_minute": F.col("clicks"),
        "views_per_minute": F.col("views"),
        "interactions_per_minute": F.col("interactions"),
        "events_per_minute": F.col("events"),
        "active_seconds": F.col("seconds"),
        "pages_per_session": F.col("session_views"),
        "distinct_pages_per_session": F.col("distinct_pages"),
        "session_minutes": minutes,
        "session_rate": ratio(events, minutes),
        "gap_mean_seconds": ratio(span, pauses),
        "gap_std_seconds": F.when(pauses > 0, F.sqrt(spread) / pauses),
        "gap_min_seconds": F.col("shortest_pause"),
        "gap_equal_share": ratio(F.col("pauses_equal"), pauses - 1),
        "repeat_ratio": ratio(events - F.col("distinct_pages"), events),
        "top_page_share": ratio(F.col("top_page"), events),
        "click_share": ratio(F.col("session_clicks"), events),
        "view_share": ratio(F.col("session_views"), events),
        "interaction_share": ratio(F.col("session_interactions"), events),
        "own_rate_ratio": ratio(F.col("events") * F.col("past_minutes"), F.col("past_events")),
        "own_past_minutes": F.col("past_minutes") - F.col("minute_in_session") + 1,
    }
