"""Events, records that are none, and offsets that were never read."""

from __future__ import annotations

from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    IntegerType,
    LongType,
    MapType,
    StringType,
    StructField,
    StructType,
    TimestampType,
)

from features.tables.table import Table, column

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
    column("part", IntegerType(), "which of its record's events it is, from 1; null: the record is one"),
    column("parts", IntegerType(), "how many events its record holds, where it is one of several"),
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

CONTEXT_COLUMNS = [
    column("ip", StringType(), "the address it came from, in its shortest form, or a pseudonym of it"),
    column("user_agent", StringType(), "the program it came from, as it names itself"),
    column("device_id", StringType(), "the device it came from, as the sender names it"),
    column("country", StringType(), "the country it came from, ISO 3166-1 alpha-2"),
    column("outcome", StringType(), "how it ended: ok or failed"),
    column("anonymous_id", StringType(), "what the app calls somebody until a login says who it is"),
    column("invalid_fields", ArrayType(StringType()), "those of these whose value makes no sense: it is in properties"),
]

EVENTS = Table(
    name="events",
    about="accepted events: parsed, typed, unique",
    schema=StructType(
        [
            *EVENT_FIELDS,
            *CONTEXT_COLUMNS,
            column("event_key", LongType(), "hash of event_id, by which repetitions are found"),
            *COORDINATES,
        ]
    ),
    keys=("topic", "partition", "offset", "part"),
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
    keys=("topic", "partition", "offset", "part"),
    cluster_by=("reason", "ingested_at"),
    time="ingested_at",
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
