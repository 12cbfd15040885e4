"""Every table once: schema, key and clustering. Jobs create tables from here; docs and tests read it.

All times are UTC. Revised tables (``features``, ``scores``) are append-only: a key may have several
rows, and the one with the greatest ``(batch_time, batch_id)`` is the valid one (:func:`features.revisions.latest`).
"""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    BooleanType,
    DataType,
    DoubleType,
    IntegerType,
    LongType,
    MapType,
    StringType,
    StructField,
    StructType,
    TimestampType,
)

from features.definitions import FEATURES


def column(name: str, kind: DataType, comment: str, *, required: bool = False) -> StructField:
    """One column with its meaning; the comment is stored in Delta and printed in the reference."""
    return StructField(name, kind, nullable=not required, metadata={"comment": comment})


@dataclass(frozen=True)
class Table:
    """A Delta table.

    ``keys`` identify a row (for revised tables: a row's subject), ``cluster_by`` is the order
    in which ``maintain_tables`` lays files out, ``times`` is the column that time ranges prune by.
    """

    name: str
    about: str
    schema: StructType
    keys: tuple[str, ...]
    cluster_by: tuple[str, ...]
    time: str
    revised: bool = False
    looked_up: bool = False
    """Read back at every micro-batch: appends keep its small files few, and its log is short."""
    on_demand: bool = False
    """Made by the batch job that fills it, not when a run starts: readers find no table until then."""

    @property
    def statistics(self) -> tuple[str, ...]:
        """Columns whose least and greatest value per file Delta keeps, so that reads can skip files.

        Pages would be large. User ids would stay in the log, where no erasure reaches them; the files themselves
        have them in their footers, so a read of one user still skips most of a file that is laid out by user.
        """
        named = (*self.keys, *self.cluster_by, self.time, "ingested_at", "batch_time")
        return tuple(dict.fromkeys(name for name in named if name in self.columns and name not in ("page", "user_id")))

    @property
    def columns(self) -> list[str]:
        return self.schema.fieldNames()


HEADER = StructType(
    [StructField("key", StringType()), StructField("value", BinaryType())],
)

COORDINATES = [
    column("raw", BinaryType(), "the Kafka value, byte for byte"),
    column("kafka_key", BinaryType(), "the Kafka key, byte for byte"),
    column("headers", ArrayType(HEADER), "the Kafka headers"),
    column("topic", StringType(), "Kafka topic", required=True),
    column("partition", IntegerType(), "Kafka partition", required=True),
    column("offset", LongType(), "Kafka offset", required=True),
    column("received_at", TimestampType(), "Kafka's timestamp of the record"),
    column("ingested_at", TimestampType(), "start of the micro-batch that read it", required=True),
    column("ingest_id", StringType(), "query id and batch id that read it", required=True),
]

EVENT_FIELDS = [
    column("user_id", StringType(), "who acted", required=True),
    column(
        "action",
        StringType(),
        "what was done, lower case for click, view, interaction; any other name as sent",
        required=True,
    ),
    column("page", StringType(), "where it was done", required=True),
    column("timestamp", TimestampType(), "when it was done (event time)", required=True),
    column("event_id", StringType(), "unique id given by the sender"),
    column("session_id", StringType(), "session given by the sender"),
    column("sent_at", TimestampType(), "when the sender sent it"),
    column("properties", MapType(StringType(), StringType()), "all other fields as text"),
]

EVENTS = Table(
    name="events",
    about="accepted events: parsed, typed, unique",
    schema=StructType(
        [
            *EVENT_FIELDS,
            column("event_key", LongType(), "hash of event_id, by which repetitions are found"),
            *COORDINATES,
        ]
    ),
    keys=("topic", "partition", "offset"),
    cluster_by=("user_id", "timestamp"),
    time="timestamp",
)

REJECTED_EVENTS = Table(
    name="rejected_events",
    about="records that are no event, as they came, with the reason",
    schema=StructType(
        [
            column("reason", StringType(), "one of the names in features.events.REASONS", required=True),
            column("field", StringType(), "the field at fault, where there is one"),
            column("detail", StringType(), "what was found, in a few words"),
            *COORDINATES,
        ]
    ),
    keys=("topic", "partition", "offset"),
    cluster_by=("reason", "ingested_at"),
    time="ingested_at",
)

BATCH = [
    column("batch_time", TimestampType(), "start of the micro-batch that wrote the row", required=True),
    column("batch_id", StringType(), "query id and micro-batch that wrote the row", required=True),
]

TILE_KEYS = ("user_id", "window_start", "page")

TILES = Table(
    name="tiles",
    about="associative partial sums per user, minute and page; several rows of a key add up",
    schema=StructType(
        [
            column("user_id", StringType(), "who acted", required=True),
            column("window_start", TimestampType(), "start of the event-time minute", required=True),
            column("page", StringType(), "where", required=True),
            column("events", LongType(), "events (sum)", required=True),
            column("clicks", LongType(), "events with action click (sum)", required=True),
            column("views", LongType(), "events with action view (sum)", required=True),
            column("interactions", LongType(), "events with action interaction (sum)", required=True),
            column(
                "second_mask",
                LongType(),
                "bit s is set where second s of the minute saw an event (bit or)",
                required=True,
            ),
            column("session_mark", LongType(), "second and hash of the sender's newest session id in the minute (max)"),
            column("last_received_at", TimestampType(), "newest arrival in Kafka (max)"),
            *BATCH,
        ]
    ),
    keys=TILE_KEYS,
    cluster_by=("window_start", "user_id"),
    time="window_start",
    looked_up=True,
)

FEATURE_COLUMNS = [column(f.name, DoubleType(), f.meaning) for f in FEATURES]

FEATURE_ROW = [
    column("user_id", StringType(), "who acted", required=True),
    column("window_start", TimestampType(), "start of the event-time minute", required=True),
    column("session_start", TimestampType(), "first active minute of the session the minute belongs to", required=True),
    column("session_is_split", BooleanType(), "the session was cut by its longest length", required=True),
    *FEATURE_COLUMNS,
    column("last_received_at", TimestampType(), "newest arrival in Kafka among the minute's events"),
    column("feature_version", StringType(), "version of the feature set that computed the row", required=True),
]

FEATURE_TABLE = Table(
    name="features",
    about="one row per user and minute, revised while events of the minute or its past arrive",
    schema=StructType([*FEATURE_ROW, *BATCH]),
    keys=("user_id", "window_start"),
    cluster_by=("window_start", "user_id"),
    time="window_start",
    revised=True,
)

REASON = StructType(
    [
        StructField("feature", StringType(), metadata={"comment": "name of the feature"}),
        StructField("value", DoubleType(), metadata={"comment": "its value in this row"}),
        StructField("expected", DoubleType(), metadata={"comment": "its typical value in the training data"}),
        StructField("direction", StringType(), metadata={"comment": "'high' or 'low' against the typical value"}),
        StructField(
            "contribution", DoubleType(), metadata={"comment": "its part of the anomaly score; positive makes stranger"}
        ),
        StructField("text", StringType(), metadata={"comment": "the reason in plain words"}),
    ]
)

SCORES = Table(
    name="scores",
    about="feature rows with the champion's judgement",
    schema=StructType(
        [
            *FEATURE_ROW,
            column("anomaly_score", DoubleType(), "higher is stranger; null where the row cannot be judged"),
            column("anomaly_percentile", DoubleType(), "0 to 100: share of the training rows with a lower score"),
            column("verdict", StringType(), "normal, anomaly or insufficient_data", required=True),
            column("reasons", ArrayType(REASON), "what made an anomaly strange, strongest first"),
            column("model_name", StringType(), "registered model", required=True),
            column("model_version", StringType(), "its version", required=True),
            column("threshold", DoubleType(), "score from which a row is an anomaly", required=True),
            column("scored_at", TimestampType(), "when the row was scored", required=True),
            *BATCH,
        ]
    ),
    keys=("user_id", "window_start"),
    cluster_by=("window_start", "user_id"),
    time="window_start",
    revised=True,
)

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

SHADOW_SCORES = Table(
    name="shadow_scores",
    about="what the challenger says of the rows that the champion judged; beside, never instead",
    schema=StructType(
        [
            column("user_id", StringType(), "who acted", required=True),
            column("window_start", TimestampType(), "start of the event-time minute", required=True),
            column("model_version", StringType(), "the challenger's version", required=True),
            column("anomaly_score", DoubleType(), "the challenger's score; null where the row cannot be judged"),
            column("anomaly_percentile", DoubleType(), "0 to 100, against the challenger's training data"),
            column(
                "verdict",
                StringType(),
                "normal, anomaly, insufficient_data, or failed: the challenger raised an error",
                required=True,
            ),
            column("threshold", DoubleType(), "the challenger's threshold", required=True),
            column("champion_version", StringType(), "the champion's version", required=True),
            column("champion_score", DoubleType(), "the champion's score"),
            column("champion_verdict", StringType(), "the champion's verdict", required=True),
            *BATCH,
        ]
    ),
    keys=("user_id", "window_start"),
    cluster_by=("window_start", "user_id"),
    time="window_start",
    revised=True,
    on_demand=True,
)

DRIFT_REPORTS = Table(
    name="drift_reports",
    about="what check_drift found: per run a row for each feature, for scores, for the flag rate and for its days",
    schema=StructType(
        [
            column("run_id", StringType(), "the run", required=True),
            column("checked_at", TimestampType(), "when it ran", required=True),
            column("model_name", StringType(), "registered model", required=True),
            column("model_version", StringType(), "the champion that rows were compared with", required=True),
            column("since", TimestampType(), "first minute compared; null when there was none"),
            column("until", TimestampType(), "last minute compared; null when there was none"),
            column("subject", StringType(), "a feature, (score), (flag rate), (day) or (nothing)", required=True),
            column("day", TimestampType(), "for (day): which one"),
            column("rows", LongType(), "rows compared; for (day) the judged ones", required=True),
            column("users", LongType(), "their users", required=True),
            column("psi", DoubleType(), "population stability index"),
            column("distance", DoubleType(), "Kolmogorov-Smirnov distance, 0 to 1"),
            column("shift", DoubleType(), "Wasserstein distance in units of the reference's spread"),
            column("expected", DoubleType(), "median in training; for flags the share in training"),
            column("found", DoubleType(), "median now; for flags the share now"),
            column("drifted", BooleanType(), "beyond the limits", required=True),
            column("retrain", BooleanType(), "what the whole run says; null: too few rows to tell"),
            column("because", StringType(), "why", required=True),
        ]
    ),
    keys=("run_id", "subject", "day"),
    cluster_by=("checked_at",),
    time="checked_at",
)

PARITY_REPORTS = Table(
    name="parity_reports",
    about="what check_parity found: one row per run and compared column, and one for whole rows",
    schema=StructType(
        [
            column("run_id", StringType(), "the run", required=True),
            column("checked_at", TimestampType(), "when it ran", required=True),
            column(
                "as_of", StringType(), "newest finished micro-batch of build_features that was compared", required=True
            ),
            column("since", TimestampType(), "first minute compared", required=True),
            column("until", TimestampType(), "first minute not compared", required=True),
            column("feature", StringType(), "compared column; (rows), (tiles), (scores): all of them", required=True),
            column("rows", LongType(), "keys compared", required=True),
            column("missing", LongType(), "the events have it, the table does not", required=True),
            column("extra", LongType(), "the table has it, the events do not", required=True),
            column("different", LongType(), "both have it and they are not equal", required=True),
            column("largest_difference", DoubleType(), "greatest absolute difference; times in minutes"),
            column("repaired", BooleanType(), "right revisions were appended", required=True),
        ]
    ),
    keys=("run_id", "feature"),
    cluster_by=("checked_at",),
    time="checked_at",
)

ERASURES = Table(
    name="erasures",
    about="people who were erased, as keyed hashes only, so that nothing brings them back",
    schema=StructType(
        [
            column(
                "user_hash",
                StringType(),
                "HMAC-SHA256 of the user id in hex, under BEHAVIOR_PSEUDONYM_KEY",
                required=True,
            ),
            column("state", StringType(), "requested, then completed when no file holds the person", required=True),
            column("at", TimestampType(), "when that state was reached", required=True),
            column("rows_removed", LongType(), "rows removed from all tables; null while requested"),
        ]
    ),
    keys=("user_hash", "state"),
    cluster_by=("at",),
    time="at",
)

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
        StructField("trait", StringType(), metadata={"comment": "name in training.patterns.traits"}),
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
            column("silhouette", DoubleType(), "of the day's segments of this unit, -1 to 1"),
            column("stability", DoubleType(), "mean adjusted Rand index between seeds"),
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

LEDGER_GAPS = Table(
    name="ledger_gaps",
    about="offsets that Kafka had deleted before they were read, where ingest was told to go on without them",
    schema=StructType(
        [
            column("topic", StringType(), "Kafka topic", required=True),
            column("partition", IntegerType(), "Kafka partition", required=True),
            column("first", LongType(), "first offset of the gap", required=True),
            column("until", LongType(), "first offset after it", required=True),
            column("found_at", TimestampType(), "when it was noted", required=True),
            column("batch_id", StringType(), "query id and micro-batch that noted it", required=True),
        ]
    ),
    keys=("topic", "partition", "first"),
    cluster_by=("found_at",),
    time="found_at",
)

AUDIT = Table(
    name="audit",
    about="who did what at the server, and who was refused; no row has a user of the tables, or a secret",
    schema=StructType(
        [
            column("audit_id", StringType(), "unique", required=True),
            column("at", TimestampType(), "when; of several attempts that are alike, the newest", required=True),
            column("times", LongType(), "attempts that the row stands for", required=True),
            column(
                "who",
                StringType(),
                "name of the key, or the provider's subject of who signed in; nobody; others: more than were kept",
                required=True,
            ),
            column("role", StringType(), "what was needed: sender, reader, analyst, all", required=True),
            column("action", StringType(), "method and route, as declared", required=True),
            column("object", StringType(), "alert_id, where the route has one"),
            column("client", StringType(), "the client's network, address or nothing: audit.addresses"),
            column(
                "outcome",
                StringType(),
                "allowed: written before it was done; refused or failed and the HTTP status; signed in, signed out",
                required=True,
            ),
        ]
    ),
    keys=("audit_id",),
    cluster_by=("at",),
    time="at",
    on_demand=True,
)

TABLES: dict[str, Table] = {
    table.name: table
    for table in (EVENTS, REJECTED_EVENTS, TILES, FEATURE_TABLE, SCORES, ALERTS, PARITY_REPORTS, ERASURES)
}
TABLES |= {table.name: table for table in (FEEDBACK, RISK, SHADOW_SCORES)}
TABLES |= {table.name: table for table in (PATTERN_DAYS, PATTERNS, SEGMENTS, TRANSITIONS, PATTERN_MEMBERS)}
TABLES[DRIFT_REPORTS.name] = DRIFT_REPORTS
TABLES |= {LEDGER_GAPS.name: LEDGER_GAPS, AUDIT.name: AUDIT}
