"""Small helpers on columns that more than one transform needs."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructField, StructType

MINUTE = 60


def minute_of(timestamp: Column) -> Column:
    """Start of the UTC minute of ``timestamp`` (timestamp)."""
    return F.timestamp_seconds(F.floor(F.unix_seconds(timestamp) / MINUTE) * MINUTE)


def minute_number(window_start: Column) -> Column:
    """Minutes since 1970 (long) of a timestamp at a minute's start."""
    return (F.unix_seconds(window_start) / MINUTE).cast("long")


def by_reference(constant: Column, whole: Column) -> Column:
    """``constant`` in every row, but not in the code that Spark generates.

    Spark writes a time or a number of the query into that code as a literal, so a value of the micro-batch makes it
    compile everything around it anew, and Java run it cold, at every batch. An array is handed over by reference.
    ``whole`` is any column of whole numbers that are not negative: it keeps the optimiser from unpacking the array.
    """
    return F.get(F.array(constant), F.least(whole.cast("int"), F.lit(0)))


def ratio(part: Column, whole: Column) -> Column:
    """``part / whole`` as double; null where ``whole`` is 0."""
    return F.when(whole > 0, part.cast("double") / whole)


def shaped(rows: DataFrame, schema: StructType) -> DataFrame:
    """The columns of ``schema`` in its order, cast to its types: the one explicit select a transform ends in.

    As SQL, since a type that crosses to the JVM by itself costs 3 ms, and a micro-batch has a hundred of them.
    """
    return rows.selectExpr(*[cast_to(field.name, field) for field in schema.fields])


def beside(rows: DataFrame, others: DataFrame, keys: Sequence[str], how: str = "inner") -> DataFrame:
    """``rows`` joined with ``others`` by their ``keys``, of which null equals null, as it does not in a join by names.

    ``how`` as in a join: ``left_semi`` are the rows with such a key, ``left_anti`` those without.
    """
    theirs = others.select(*[F.col(name).alias(f"_{name}" if name in keys else name) for name in others.columns])
    same = [F.col(name).eqNullSafe(F.col(f"_{name}")) for name in keys]
    return rows.join(theirs, same, how).drop(*[f"_{name}" for name in keys])


def cast_to(source: str, field: StructField) -> str:
    """SQL: the column ``source`` as ``field``."""
    return f"CAST(`{source}` AS {field.dataType.simpleString()}) AS `{field.name}`"
