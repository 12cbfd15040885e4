"""Who was erased, and who did what at the server."""

from __future__ import annotations

from pyspark.sql.types import (
    LongType,
    StringType,
    StructType,
    TimestampType,
)

from features.tables.table import Table, column

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
