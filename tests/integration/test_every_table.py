"""Laws of what is done to tables whatever their columns are called, over all of features.tables."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql.types import (
    ArrayType,
    BooleanType,
    DataType,
    DoubleType,
    MapType,
    StringType,
    StructField,
    TimestampType,
)

from features.tables import TABLES, Table
from streams.flow import FLOW
from streams.queries import checkpoint
from streams.retention import drop_replaced
from tests.integration.upkeep import NOON, Platform, small_platform

pytestmark = pytest.mark.integration

REVISED = [table for table in TABLES.values() if table.revised]


def a_value(kind: DataType, number: int, day: datetime) -> Any:
    """A value for a column that the law does not look at."""
    if isinstance(kind, ArrayType | MapType):
        return None
    if isinstance(kind, TimestampType):
        return day
    if isinstance(kind, StringType):
        return f"s{number}"
    if isinstance(kind, BooleanType):
        return True
    return float(number) if isinstance(kind, DoubleType) else number


def a_row(table: Table, number: int, day: datetime, written: datetime, batch: str) -> list[Any]:
    own = {"batch_time": written, "batch_id": batch}

    def value(column: StructField) -> Any:
        return own.get(column.name, a_value(column.dataType, number, day))

    return [value(column) for column in table.schema.fields]


def has_passed(platform: Platform) -> None:
    """As if every stream had come so far: rewrites leave a table alone whose writer has no checkpoint."""
    for stream in FLOW:
        folder = Path(checkpoint(platform.settings, stream.query))
        folder.mkdir(parents=True)
        folder.joinpath("metadata").write_text(json.dumps({"id": "22222222-3333"}), encoding="utf-8")


def test_replaced_revisions_are_dropped_from_every_table_that_has_them_whatever_its_columns_are_called(
    spark: SparkSession, tmp_path: Path
) -> None:
    platform = small_platform(spark, tmp_path, "maintenance.keep_revisions_hours=0", tables=tuple(REVISED))
    has_passed(platform)
    before = datetime.now(UTC) - timedelta(hours=2)
    for table in REVISED:
        rows = [
            a_row(table, number, NOON + timedelta(days=number), before + timedelta(minutes=minutes), batch)
            for number, minutes, batch in ((1, 1, "first"), (2, 1, "first"), (2, 9, "second"))
        ]
        platform.lake.append(spark.createDataFrame(rows, table.schema).coalesce(1), table, batch_id="given")
    said = {table.name: drop_replaced(platform.lake, platform.settings, table) for table in REVISED}
    assert said == {table.name: "1 replaced revisions dropped" for table in REVISED}
    left = {
        table.name: sorted(row[0] for row in platform.read(table).select("batch_id").collect()) for table in REVISED
    }
    assert left == {table.name: ["first", "second"] for table in REVISED}
