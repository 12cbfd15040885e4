"""Validated records as Arrow tables within rows of Spark, thousands of records in one.

A Python worker validates Kafka's records and so knows every column of both tables; as rows they would go to Java, into
a cache, and back to the worker that writes them. Packed, they pass Java as bytes that nobody looks into.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import ArrayType, BinaryType, MapType, StructField, StructType

from features.duplicates import ARRIVAL
from features.tables import EVENTS, REJECTED_EVENTS

VERDICT = ("reason", "field", "detail")
VALIDATED = StructType(
    [
        StructField(field.name, field.dataType)
        for field in (*REJECTED_EVENTS.schema.fields[: len(VERDICT)], *EVENTS.schema.fields)
    ]
)
"""Columns of validated records: the verdict (null: accepted), and all of table events (its fields null: rejected)."""
ARRIVALS = StructType([VALIDATED[name] for name in ("reason", "event_key", *ARRIVAL, "ingested_at")])
"""Those of them by which repeated ids are found."""
PACKS = StructType([StructField(name, BinaryType()) for name in ("records", "arrivals", "people", "links")])
"""A pack: records with the columns of :data:`VALIDATED`, and beside them, for who needs no more, :data:`ARRIVALS` and,
where asked for, whose they are (:func:`features.folding.people_in`), and the links that they tell, if any
(:func:`features.identities.links_in`)."""
WRITTEN, READ = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False), pa.ipc.IpcReadOptions(use_threads=False)
"""As a pack is written and read, within a task that has one core."""

Batches = Iterator[pa.RecordBatch]

_PACKS = to_arrow_schema(PACKS)


def pack(validated: pa.Table, people: pa.Table | None = None, links: pa.Table | None = None) -> pa.RecordBatch:
    """One row of :data:`PACKS`."""
    parts = [_as_value(part) for part in (validated, validated.select(ARRIVALS.names))]
    parts += [pa.nulls(1, pa.binary()) if part is None else _as_value(part) for part in (people, links)]
    return pa.record_batch(parts, schema=_PACKS)


def _as_value(table: pa.Table) -> pa.Array:
    """``table`` as the one value of a binary array: a quarter of its bytes, which Java copies many times."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=WRITTEN) as stream:
        stream.write_table(table)
    content = sink.getvalue()
    return pa.Array.from_buffers(pa.binary(), 1, [None, pa.py_buffer(np.array([0, content.size], np.int32)), content])


def tables_in(packs: pa.Array | pa.ChunkedArray) -> Iterator[pa.Table]:
    """The tables in a column of :data:`PACKS`."""
    for value in packs:
        yield pa.ipc.open_stream(value.as_buffer(), options=READ).read_all()


def unpacked(packs: DataFrame, change: Callable[[pa.Table], pa.Table] = lambda validated: validated) -> DataFrame:
    """A row for each record (:data:`VALIDATED`), after a ``change`` to the tables in the packs."""

    def work(batches: Batches) -> Batches:
        for batch in batches:
            for validated in tables_in(batch["records"]):
                yield from change(validated).to_batches()

    return packs.select("records").mapInArrow(work, VALIDATED)


def arrivals(packs: DataFrame) -> DataFrame:
    """A row for each record (:data:`ARRIVALS`)."""

    def work(batches: Batches) -> Batches:
        for batch in batches:
            for table in tables_in(batch["arrivals"]):
                yield from table.to_batches()

    return packs.select("arrivals").mapInArrow(work, ARRIVALS)


# --- lists on their way to a worker ---


def without_null_lists(rows: DataFrame) -> DataFrame:
    """``rows`` with empty lists and maps in place of null ones, for their way to Python.

    Java's Arrow (19, of Spark 4.2) takes time by the square of a batch's rows where lists are null (decision 090):
    headers and properties, which few records have, took more than half of the time of all columns.
    """
    empty = {ArrayType: F.array(), MapType: F.create_map()}
    lists = {field.name: empty[type(field.dataType)] for field in rows.schema if type(field.dataType) in empty}
    return rows.withColumns({
        name: F.coalesce(name, nothing.cast(rows.schema[name].dataType)) for name, nothing in lists.items()
    })  # fmt: skip


def null_where_empty(rows: pa.RecordBatch) -> pa.RecordBatch:
    """The lists of :func:`without_null_lists` as they were: none that is sent is empty."""
    for place, field in enumerate(rows.schema):
        if pa.types.is_list(field.type) or pa.types.is_map(field.type):
            lists = rows.column(place)
            offsets = np.asarray(lists.offsets)
            empty = np.diff(offsets) == 0
            rows = rows.set_column(place, field.with_nullable(True), _masked(lists, empty))
    return rows


def _masked(lists: pa.Array, empty: np.ndarray) -> pa.Array:
    if empty.all():
        return pa.nulls(len(lists), lists.type)
    return pc.if_else(empty, pa.scalar(None, lists.type), lists)
