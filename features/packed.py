"""Judged records as Arrow tables within rows of Spark, thousands of events in one.

Nearly all records are events beyond doubt (:mod:`features.plain_json`). A Python worker reads them and so knows every
column of table events; as rows they would go to Java, into a cache, and back to the worker that writes them. Packed,
they pass Java as bytes that nobody looks into. Records in doubt stay rows, and Spark judges these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import ArrayType, BinaryType, MapType, StructField, StructType

from features.duplicates import ARRIVAL
from features.plain_json import Ints
from features.plain_reading import plain_readings
from features.tables import EVENTS, REJECTED_EVENTS

KNOWN_ACTIONS = ("click", "view", "interaction")
VERDICT = ("reason", "field", "detail")
JUDGED = StructType(
    [
        StructField(field.name, field.dataType)
        for field in (*REJECTED_EVENTS.schema.fields[: len(VERDICT)], *EVENTS.schema.fields)
    ]
)
"""Columns of judged records: the verdict, and all of table events."""
PLAIN = StructField("plain", StructType([StructField("events", BinaryType()), StructField("arrivals", BinaryType())]))
"""A pack, or null. ``events``: columns of table events but ``ingest_id``. ``arrivals``: see :data:`FOUND_BY`."""
FOUND_BY = ("event_key", *ARRIVAL)
"""Columns by which repeated ids are found."""
PACK_BYTES = 16_000_000
"""Of records that make a pack, at most, unless one has more: a value of Spark ends at 2 GB."""
WRITTEN, READ = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False), pa.ipc.IpcReadOptions(use_threads=False)
"""As a pack is written and read, within a task that has one core."""
SEED = 42
"""Of Spark's xxhash64."""

Batches = Iterator[pa.RecordBatch]

_JUDGED = to_arrow_schema(JUDGED, timezone="UTC")
_EVENTS = pa.schema([field for field in _JUDGED if field.name not in (*VERDICT, "ingest_id")])
_PLAIN = to_arrow_schema(StructType([PLAIN])).field(0)


# --- into packs ---


def packer(limits: Ints) -> Callable[[Batches], Batches]:
    """What a worker does with Kafka's records (:data:`features.events.RECORD`): it adds :data:`PLAIN`.

    A row is a pack, whose other columns are null but for ``ingested_at`` and ``ingest_id``, or one record in doubt.
    """

    def pack(batches: Batches) -> Batches:
        for batch in batches:
            parts = max(1, batch.nbytes // PACK_BYTES)
            size = -(-batch.num_rows // parts)
            for start in range(0, batch.num_rows, size or 1):
                yield from _packed(batch.slice(start, size), limits)

    return pack


def _packed(records: pa.RecordBatch, limits: Ints) -> Batches:
    records = null_where_empty(records)
    schema = pa.schema([*(field.with_nullable(True) for field in records.schema), _PLAIN])
    now = pc.fill_null(records["ingested_at"].cast(pa.int64()), 0)
    readings = plain_readings(records["value"], now, records["timestamp"].cast(pa.int64()), limits)
    taken = readings.is_valid()
    events = _events_of(records.filter(taken), readings.filter(taken))
    if events.num_rows:
        packs = [_as_value(part) for part in (events, events.select(FOUND_BY))]
        row = {field.name: pa.nulls(1, field.type) for field in records.schema}
        row |= {name: records[name].slice(0, 1) for name in ("ingested_at", "ingest_id")}
        plain = pa.StructArray.from_arrays(packs, fields=_PLAIN.type.fields)
        yield pa.record_batch([*row.values(), plain], schema=schema)
    doubtful = records.filter(pc.invert(taken))
    if doubtful.num_rows:
        yield pa.record_batch([*doubtful.columns, pa.nulls(doubtful.num_rows, _PLAIN.type)], schema=schema)


def _events_of(records: pa.RecordBatch, readings: pa.StructArray) -> pa.Table:
    columns = dict(zip(records.schema.names, records.columns, strict=True))
    columns |= {"raw": columns["value"], "kafka_key": columns["key"], "received_at": columns["timestamp"]}
    columns |= dict(zip(readings.type.names, readings.flatten(), strict=True))
    lower = pc.ascii_lower(columns["action"])
    columns["action"] = pc.if_else(pc.is_in(lower, pa.array(KNOWN_ACTIONS)), lower, columns["action"])
    columns["event_key"] = keys_of(columns["event_id"])
    return pa.table([columns[field.name].cast(field.type) for field in _EVENTS], schema=_EVENTS)


def keys_of(ids: pa.Array) -> pa.Array:
    """Spark's ``xxhash64`` of each text; null of null."""
    hashes = (xxhash.xxh64_intdigest(one or b"", SEED) for one in ids.cast(pa.binary()).to_pylist())
    absent = ids.is_null().to_numpy(zero_copy_only=False)
    return pa.array(np.fromiter(hashes, np.uint64, len(ids)).view(np.int64), mask=absent)


def _as_value(table: pa.Table) -> pa.Array:
    """``table`` as the one value of a binary array: a quarter of its bytes, which Java copies many times."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=WRITTEN) as stream:
        stream.write_table(table)
    content = sink.getvalue()
    return pa.Array.from_buffers(pa.binary(), 1, [None, pa.py_buffer(np.array([0, content.size], np.int32)), content])


# --- out of packs ---


def arrivals_of(judged: pa.Table) -> pa.Table:
    """Of each record its ``reason``, :data:`FOUND_BY`, and whether it ``is_packed``; from these columns and packs."""
    rows = judged.filter(judged["arrivals"].is_null()).select(["reason", *FOUND_BY])
    parts = [rows.append_column("is_packed", pa.repeat(False, rows.num_rows))]
    for pack in judged["arrivals"].drop_null():
        events = _table_in(pack)
        columns = [pa.nulls(events.num_rows, pa.string()), *events.columns, pa.repeat(True, events.num_rows)]
        parts.append(pa.table(columns, schema=parts[0].schema))
    return pa.concat_tables(parts)


def packs_in(judged: pa.RecordBatch) -> Iterator[pa.Table]:
    """The packs among rows of ``judged``, each as a table with the columns of :data:`JUDGED`."""
    for row in np.flatnonzero(judged["events"].is_valid()):
        events = _table_in(judged["events"][int(row)])
        columns = dict(zip(events.column_names, events.columns, strict=True))
        columns |= {name: pa.nulls(events.num_rows, pa.string()) for name in VERDICT}
        columns["ingest_id"] = pa.repeat(judged["ingest_id"][int(row)], events.num_rows)
        yield pa.table([columns[name] for name in _JUDGED.names], schema=_JUDGED)


def rows_in(judged: pa.RecordBatch) -> pa.Table:
    """The rows of ``judged`` that are no packs, with the columns of :data:`JUDGED`."""
    rows = null_where_empty(judged.filter(judged["events"].is_null()))
    return pa.Table.from_batches([rows]).select(_JUDGED.names).cast(_JUDGED)


def unpack(batches: Batches) -> Batches:
    """What a worker does to give Spark a row for each record."""
    for batch in batches:
        for table in (*packs_in(batch), rows_in(batch)):
            yield from table.to_batches()


def _table_in(pack: pa.BinaryScalar) -> pa.Table:
    return pa.ipc.open_stream(pack.as_buffer(), options=READ).read_all()


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
