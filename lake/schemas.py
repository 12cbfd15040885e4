"""The tables' declared columns as Arrow has them."""

from __future__ import annotations

import pyarrow as pa
from pyspark.sql.pandas.types import to_arrow_schema

from features.tables import Table


def arrow_schema(table: Table) -> pa.Schema:
    """The table's columns in Arrow's types; times are in microseconds, in UTC."""
    return to_arrow_schema(table.schema, timezone="UTC")
