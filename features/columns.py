"""``Column -> Column`` helpers that more than one transform needs."""

from __future__ import annotations

from collections.abc import Iterable

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

MINUTE = 60


def minute_of(timestamp: Column) -> Column:
    """Start of the UTC minute of ``timestamp`` (timestamp)."""
    return F.timestamp_seconds(F.floor(F.unix_seconds(timestamp) / MINUTE) * MINUTE)


def minute_number(window_start: Column) -> Column:
    """Minutes since 1970 (long) of a timestamp at a minute's start."""
    return (F.unix_seconds(window_start) / MINUTE).cast("long")


def ratio(part: Column, whole: Column) -> Column:
    """``part / whole`` as double; null where ``whole`` is 0."""
    return F.when(whole > 0, part.cast("double") / whole)


def in_schema_order(schema: StructType, given: Iterable[str] = ()) -> list[Column]:
    """Columns of ``schema`` in its order, cast to its types: the one explicit select a transform ends in."""
    return [F.col(f"`{field.name}`").cast(field.dataType).alias(field.name) for field in schema.fields]
