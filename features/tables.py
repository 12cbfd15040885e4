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
    about="one per user and session that was judged anomalous; revised as it worsens",
    schema=StructType(
        [
            column("alert_id", StringType(), "stable id of user and session", required=True),
            column("user_id", StringType(), "who", required=True),
            column("session_start", TimestampType(), "the session", required=True),
            column("window_start", TimestampType(), "the strangest minute so far", required=True),
            column("first_window_start", TimestampType(), "the first flagged minute", required=True),
            column("last_window_start", TimestampType(), "the last flagged minute", required=True),
            column("flagged_minutes", LongType(), "flagged minutes so far", required=True),
            column("anomaly_score", DoubleType(), "the highest score so far", required=True),
            column("anomaly_percentile", DoubleType(), "its percentile", required=True),
            column("reasons", ArrayType(REASON), "the reasons of the strangest minute"),
            column("model_version", StringType(), "version that judged the strangest minute", required=True),
            column("state", StringType(), "open, or closed when the session has ended", required=True),
            *BATCH,
        ]
    ),
    keys=("alert_id",),
    cluster_by=("session_start", "user_id"),
    time="session_start",
    revised=True,
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
            column("feature", StringType(), "compared column; (rows) stands for the rows as a whole", required=True),
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

TABLES: dict[str, Table] = {
    table.name: table
    for table in (EVENTS, REJECTED_EVENTS, TILES, FEATURE_TABLE, SCORES, ALERTS, PARITY_REPORTS, ERASURES)
}
