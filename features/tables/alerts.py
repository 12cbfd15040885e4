"""Alerts, what analysts say of them, and the risk of people."""

from __future__ import annotations

from pyspark.sql.types import (
    ArrayType,
    DoubleType,
    LongType,
    StringType,
    StructType,
    TimestampType,
)

from features.tables.scores import REASON
from features.tables.table import BATCH, Table, column

ALERTS = Table(
    name="alerts",
    about="one per user and session that was judged anomalous; revised as it worsens, ends or is taken back",
    schema=StructType(
        [
            column("alert_id", StringType(), "stable id of user and session", required=True),
            column("revision", LongType(), "1 when it was raised, one more each time it is revised", required=True),
            column("user_id", StringType(), "who", required=True),
            column("session_start", TimestampType(), "the session", required=True),
            column("session_end", TimestampType(), "its newest minute when the revision was made", required=True),
            column("window_start", TimestampType(), "the strangest minute so far", required=True),
            column("first_window_start", TimestampType(), "the first flagged minute", required=True),
            column("last_window_start", TimestampType(), "the last flagged minute", required=True),
            column("flagged_minutes", LongType(), "flagged minutes so far; 0 when it was taken back", required=True),
            column("anomaly_score", DoubleType(), "the highest score so far", required=True),
            column("anomaly_percentile", DoubleType(), "its percentile", required=True),
            column("reasons", ArrayType(REASON), "the reasons of the strangest minute"),
            column("model_version", StringType(), "version that judged the strangest minute", required=True),
            column(
                "state",
                StringType(),
                "open; closed: the session has ended; withdrawn: late events took the verdict back; "
                "merged: late events joined the session with the one of merged_into",
                required=True,
            ),
            column("merged_into", StringType(), "alert_id that goes on, where the state is merged"),
            column("raised_at", TimestampType(), "when its first revision was made", required=True),
            *BATCH,
        ]
    ),
    keys=("alert_id",),
    cluster_by=("session_start", "user_id"),
    time="session_start",
    revised=True,
)

FEEDBACK = Table(
    name="feedback",
    about="what analysts found out about alerts; append-only, the newest row of an alert counts",
    schema=StructType(
        [
            column("feedback_id", StringType(), "unique", required=True),
            column("alert_id", StringType(), "the alert", required=True),
            column("user_id", StringType(), "the alert's user", required=True),
            column("session_start", TimestampType(), "the alert's session", required=True),
            column("first_window_start", TimestampType(), "the alert's first flagged minute", required=True),
            column("last_window_start", TimestampType(), "the alert's last flagged minute", required=True),
            column("verdict", StringType(), "true: an anomaly indeed; false: a false alarm", required=True),
            column("note", StringType(), "in the analyst's words"),
            column("analyst", StringType(), "who says so"),
            column("at", TimestampType(), "when", required=True),
        ]
    ),
    keys=("feedback_id",),
    cluster_by=("at",),
    time="at",
)

RISK = Table(
    name="risk",
    about="alerts rolled up per user and day",
    schema=StructType(
        [
            column("user_id", StringType(), "who", required=True),
            column(
                "day", TimestampType(), "start of the UTC day; an alert belongs to its session's day", required=True
            ),
            column("alerts", LongType(), "alerts of the day that stand", required=True),
            column("flagged_minutes", LongType(), "their flagged minutes", required=True),
            column("highest_score", DoubleType(), "their highest score; null without alerts"),
            column("highest_percentile", DoubleType(), "its percentile; null without alerts"),
            column("points", DoubleType(), "what the day adds to the risk", required=True),
            column("risk", DoubleType(), "0 to 100 at the end of the day, earlier days fading", required=True),
            *BATCH,
        ]
    ),
    keys=("user_id", "day"),
    cluster_by=("day", "user_id"),
    time="day",
    revised=True,
)
