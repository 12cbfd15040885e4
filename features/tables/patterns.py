"""What people commonly do: paths, segments and steps, per day."""

from __future__ import annotations

from pyspark.sql.types import (
    ArrayType,
    BooleanType,
    DoubleType,
    LongType,
    StringType,
    StructField,
    StructType,
    TimestampType,
)

from features.tables.table import Table, column

DAY = column("day", TimestampType(), "start of the UTC day; a session belongs to the day it starts in", required=True)

TREND = [
    column("share", DoubleType(), "share of the day's sessions (users), 0 to 1", required=True),
    column("share_before", DoubleType(), "mean share over the earlier days in sight; null where there are none"),
    column("trend", StringType(), "first_day, new, rising, falling or steady", required=True),
    column("flagged_share", DoubleType(), "share of its judged sessions (users) that were flagged; null: none judged"),
]

PATTERN_DAYS = Table(
    name="pattern_days",
    about="one row per mined day: what it was mined from, and what the next days go on with",
    schema=StructType(
        [
            DAY,
            column("mined_at", TimestampType(), "when", required=True),
            column(
                "is_complete", BooleanType(), "the newest event was later than the day's last session", required=True
            ),
            column("events", LongType(), "events of the day when it was mined", required=True),
            column("sessions", LongType(), "sessions that start in the day", required=True),
            column("users", LongType(), "users with such a session", required=True),
            column(
                "mined_sessions",
                LongType(),
                "sessions whose paths were mined: a sample of users if fewer",
                required=True,
            ),
            column("learned_sessions", LongType(), "sessions that the segments were learned from", required=True),
            column("page_kinds", ArrayType(StringType()), "templates of pages that were learned so far", required=True),
            column("notes", ArrayType(StringType()), "sentences for people: what was left out, and why", required=True),
        ]
    ),
    keys=("day",),
    cluster_by=("day",),
    time="day",
    on_demand=True,
)

PATTERNS = Table(
    name="patterns",
    about="frequent paths through pages, per day",
    schema=StructType(
        [
            DAY,
            column(
                "pattern_id", StringType(), "hash of the steps: the same path has the same id every day", required=True
            ),
            column("name", StringType(), "the path in plain words", required=True),
            column("description", StringType(), "a sentence: who often, against chance, trend", required=True),
            column("steps", ArrayType(StringType()), "kinds of pages in order; others may lie between", required=True),
            column("sessions", LongType(), "sessions with this path", required=True),
            column("users", LongType(), "users with such a session", required=True),
            column(
                "lift", DoubleType(), "sessions with this path against independent pages; null for one kind of page"
            ),
            *TREND,
        ]
    ),
    keys=("day", "pattern_id"),
    cluster_by=("day",),
    time="day",
    on_demand=True,
)

PROFILE = StructType(
    [
        StructField("trait", StringType(), metadata={"comment": "name in patterns.traits"}),
        StructField("value", DoubleType(), metadata={"comment": "typical value (median) of the members"}),
        StructField("overall", DoubleType(), metadata={"comment": "typical value of all"}),
        StructField("difference", DoubleType(), metadata={"comment": "in standard deviations of all; above 0: more"}),
        StructField("text", StringType(), metadata={"comment": "the trait in plain words"}),
    ]
)

PAGE_SHARE = StructType(
    [
        StructField("page", StringType(), metadata={"comment": "kind of page"}),
        StructField("share", DoubleType(), metadata={"comment": "share of the members that were there, 0 to 1"}),
    ]
)

ACT_SHARE = StructType(
    [
        StructField("action", StringType(), metadata={"comment": "what was done; (other): all acts of few users"}),
        StructField("page", StringType(), metadata={"comment": "kind of page"}),
        StructField("share", DoubleType(), metadata={"comment": "mean share of what its members do, 0 to 1"}),
        StructField("overall", DoubleType(), metadata={"comment": "of what all do"}),
    ]
)

SEGMENTS = Table(
    name="segments",
    about="groups of sessions and of users that behave alike, per day",
    schema=StructType(
        [
            DAY,
            column("unit", StringType(), "session or user", required=True),
            column("segment_id", StringType(), "stays the same from day to day", required=True),
            column("name", StringType(), "in plain words, kept from day to day", required=True),
            column("description", StringType(), "a sentence: what sets its members apart", required=True),
            column("members", LongType(), "sessions (users) in it", required=True),
            *TREND,
            column("profile", ArrayType(PROFILE), "traits, the most telling first", required=True),
            column("pages", ArrayType(PAGE_SHARE), "kinds of pages its members use most", required=True),
            column("paths", ArrayType(StringType()), "its typical paths, in plain words", required=True),
            column("first_day", TimestampType(), "day on which it was first seen", required=True),
            column(
                "centre",
                ArrayType(DoubleType()),
                "of the traits in their order; empty for a segment by rule",
                required=True,
            ),
            column("silhouette", DoubleType(), "of the day's segments of sessions, -1 to 1"),
            column("stability", DoubleType(), "mean adjusted Rand index between fits on parts of the rows"),
            column("acts", ArrayType(ACT_SHARE), "of users, what its members do; null for a segment by rule"),
        ]
    ),
    keys=("day", "unit", "segment_id"),
    cluster_by=("day",),
    time="day",
    on_demand=True,
)

TRANSITIONS = Table(
    name="transitions",
    about="steps from one kind of page to the next, against chance, per day",
    schema=StructType(
        [
            DAY,
            column("from_page", StringType(), "kind of page; (start): the session begins", required=True),
            column("to_page", StringType(), "kind of page; (end): the session ends", required=True),
            column("sessions", LongType(), "sessions that make this step; each counts once", required=True),
            column("users", LongType(), "users with such a session", required=True),
            column("probability", DoubleType(), "of this step among the steps from from_page", required=True),
            column("expected", DoubleType(), "sessions that would make it by chance", required=True),
            column("lift", DoubleType(), "sessions against expected", required=True),
            column("odds_ratio", DoubleType(), "odds of to_page after from_page against elsewhere", required=True),
            column("odds_ratio_low", DoubleType(), "lower end of its 95 % interval", required=True),
            column("odds_ratio_high", DoubleType(), "upper end", required=True),
            column("p_value", DoubleType(), "of a deviation from chance as large as this, two-sided", required=True),
            column("is_significant", BooleanType(), "p_value is below 0.05 after Holm's correction", required=True),
        ]
    ),
    keys=("day", "from_page", "to_page"),
    cluster_by=("day",),
    time="day",
    on_demand=True,
)

PATTERN_MEMBERS = Table(
    name="pattern_members",
    about="who is in which segment of users, and examples of the other segments and of paths",
    schema=StructType(
        [
            DAY,
            column("unit", StringType(), "session, user or path", required=True),
            column("pattern_id", StringType(), "segment_id, or pattern_id of a path", required=True),
            column("user_id", StringType(), "who", required=True),
            column("session_start", TimestampType(), "the session; null for unit user"),
            column("distance", DoubleType(), "from the segment's centre; the smallest is the most typical"),
            column("is_example", BooleanType(), "shown to people as an example", required=True),
        ]
    ),
    keys=("day", "unit", "pattern_id", "user_id", "session_start"),
    cluster_by=("day", "user_id"),
    time="day",
    on_demand=True,
)
