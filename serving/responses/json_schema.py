"""Pieces of JSON Schema: values, objects, and the columns of tables as JSON has them."""

from __future__ import annotations

from typing import Any

from pyspark.sql.types import ArrayType, BooleanType, DataType, DoubleType, LongType, StructField, StructType

from features.tables import Table

Schema = dict[str, Any]

TIME: Schema = {"type": "string", "format": "date-time"}
TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}


def nullable(schema: Schema) -> Schema:
    """The same, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def an_object(required: Schema, /, **optional: Schema) -> Schema:
    return {"type": "object", "required": list(required), "properties": {**required, **optional}}


def an_array(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def of_column(field: StructField) -> Schema:
    """A table's column as JSON has it."""
    schema = of_type(field.dataType)
    comment = (field.metadata or {}).get("comment")
    described = {**schema, "description": comment} if comment else schema
    return nullable(described) if field.nullable else described


def of_table(table: Table, *without: str) -> Schema:
    """A row of a table."""
    return an_object({field.name: of_column(field) for field in table.schema if field.name not in without})


def of_type(kind: DataType) -> Schema:
    """A value of a column's type, which is not null."""
    if isinstance(kind, ArrayType):
        return an_array(of_type(kind.elementType))
    if isinstance(kind, StructType):
        return an_object({field.name: of_column(field) for field in kind})
    if isinstance(kind, BooleanType):
        return {"type": "boolean"}
    if isinstance(kind, DoubleType):
        return NUMBER
    if isinstance(kind, LongType):
        return {"type": "integer"}
    return TIME if kind.typeName() == "timestamp" else TEXT
