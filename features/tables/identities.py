"""Who an anonymous id belongs to."""

from __future__ import annotations

from pyspark.sql.types import StringType, StructType, TimestampType

from features.tables.table import BATCH, Table, column

IDENTITIES = Table(
    name="identities",
    about="links of anonymous ids to users, as events told them and as people undid them; a pair may have several rows",
    schema=StructType(
        [
            column("user_id", StringType(), "who was known; null: somebody who was erased"),
            column("anonymous_id", StringType(), "what the app called them before", required=True),
            column(
                "linked_at",
                TimestampType(),
                "minute of an event with both; of several rows of a pair the earliest counts",
                required=True,
            ),
            column(
                "source",
                StringType(),
                "the topic of that event; or what a person said: (undone), (restored)",
                required=True,
            ),
            *BATCH,
        ]
    ),
    keys=("user_id", "anonymous_id"),
    cluster_by=("user_id", "anonymous_id"),
    time="linked_at",
    looked_up=True,
)
