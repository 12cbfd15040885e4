"""Which accepted records repeat an event id that was seen before."""

from __future__ import annotations

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

POSITION = ["topic", "partition", "offset"]


def duplicates_of(judged: DataFrame, seen: DataFrame) -> DataFrame:
    """Coordinates (topic, partition, offset) of the accepted rows of ``judged`` whose ``event_id`` came before.

    Args:
        judged: as :func:`features.events.judge` returns it, with ``event_key``, a 64-bit hash of the event id.
        seen: ``event_key`` of the events accepted within the window, this batch's own left out.

    The first by arrival stays. Rows without an event id are never merged: two equal clicks are two clicks.
    The comparison is by hash, so that the look-up reads eight bytes per event; a false match has odds of
    1 to 10^12 per event at 10^7 events in the window, and the record is kept in rejected_events all the same.
    """
    known = judged.where(F.col("reason").isNull() & F.col("event_key").isNotNull()).select(
        "event_key", "received_at", *POSITION
    )
    order = Window.partitionBy("event_key").orderBy("received_at", *POSITION)
    repeated = known.withColumn("nth", F.row_number().over(order)).where("nth > 1").select(POSITION)
    met = seen.select("event_key").join(F.broadcast(known.select("event_key")), "event_key", "left_semi").distinct()
    seen_before = known.join(F.broadcast(met), "event_key", "left_semi").select(POSITION)
    return repeated.unionByName(seen_before).distinct()


def reject_duplicates(judged: DataFrame, duplicates: DataFrame) -> DataFrame:
    """``judged`` with the rows at the coordinates in ``duplicates`` rejected as ``duplicate_event_id``."""
    marked = judged.join(F.broadcast(duplicates.withColumn("is_duplicate", F.lit(True))), POSITION, "left")
    is_duplicate = F.col("is_duplicate").isNotNull()
    return marked.withColumns(
        {
            "reason": F.when(is_duplicate, "duplicate_event_id").otherwise(F.col("reason")),
            "field": F.when(is_duplicate, "event_id").otherwise(F.col("field")),
            "detail": F.when(is_duplicate, F.substring("event_id", 1, 100)).otherwise(F.col("detail")),
        }
    ).select(judged.columns)
