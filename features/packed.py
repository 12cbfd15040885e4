"""Judged records as Arrow tables within rows of Spark, one for thousands of events.

Nearly all records are events beyond doubt (:mod:`features.plain_json`). A worker reads them and knows every column of
table events, and as rows they would only go to Java, into a cache, and back to the worker that writes them. Packed they
pass Java as bytes that nobody looks into; records in doubt stay rows, and Spark judges these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import BinaryType, StructField, StructType

from features.duplicates import ARRIVAL
from features.plain_json import Ints
from features.plain_reading import plain_readings
from features.tables import EVENTS, REJECTED_EVENTS

PACKED = StructType([StructField("events", BinaryType()), StructField("arrivals", BinaryType())])
"""``events``: columns of table events but ``ingest_id``. ``arrivals``: what repeated ids are found by."""
PLAIN = pa.struct([(name, pa.binary()) for name in PACKED.fieldNames()])
KNOWN_ACTIONS = ("click", "view", "interaction")
PACK_BYTES = 16_000_000
"""Of records that make a pack at most: a value of Spark may have 2 GB, a record 16 MB."""
SEED = 42
"""Of Spark's xxhash64."""

VERDICT = ("reason", "field", "detail")
JUDGED = StructType(
    [
        StructField(field.name, field.dataType)
        for field in (*REJECTED_EVENTS.schema.fields[: len(VERDICT)], *EVENTS.schema.fields)
    ]
)
"""Rows that :func:`features.events.judge` gives."""
EVENT_COLUMNS = to_arrow_schema(EVENTS.schema, timezone="UTC")

Batches = Iterator[pa.RecordBatch]


def packer(limits: Ints) -> Callable[[Batches], Batches]:
    """What a worker does with Kafka's records (:data:`features.events.RECORD`): it adds ``plain`` (:data:`PACKED`).

    A row is a pack of events, whose other columns are null but for ``ingested_at``, or one record in doubt.
    """

    def pack(batches: Batches) -> Batches:
        for batch in batches:
            for records in in_parts(batch):
                yield from packed(records, limits)

    return pack


def in_parts(records: pa.RecordBatch) -> Batches:
    """``records`` cut into parts of about :data:`PACK_BYTES`."""
    parts = max(1, records.nbytes // PACK_BYTES)
    size = -(-records.num_rows // parts)
    for start in range(0, records.num_rows, max(1, size)):
        yield records.slice(start, size)


def packed(records: pa.RecordBatch, limits: Ints) -> Batches:
    records = records.set_column(records.schema.get_field_index("headers"), "headers", headers_in(records["headers"]))
    now = pc.fill_null(records["ingested_at"].cast(pa.int64()), 0)
    readings = plain_readings(records["value"], now, limits)
    taken = readings.is_valid()
    schema = pa.schema([*(field.with_nullable(True) for field in records.schema), ("plain", PLAIN)])
    events = events_of(records.filter(taken), readings.filter(taken))
    if events.num_rows:
        packs = [as_value(as_bytes(part)) for part in (events, events.select(["event_key", *ARRIVAL]))]
        columns = {name: pa.nulls(1, schema.field(name).type) for name in records.schema.names}
        columns["ingested_at"] = records["ingested_at"].slice(0, 1)
        yield pa.record_batch(
            [*columns.values(), pa.StructArray.from_arrays(packs, fields=PLAIN.fields)], schema=schema
        )
    doubtful = records.filter(pc.invert(taken))
    if doubtful.num_rows:
        yield pa.record_batch([*doubtful.columns, pa.nulls(doubtful.num_rows, PLAIN)], schema=schema)


def headers_in(lists: pa.ListArray) -> pa.ListArray:
    """Null where there are none, as Kafka's source has it."""
    if not len(lists.values):
        return pa.nulls(len(lists), lists.type)
    return pc.if_else(pc.equal(pc.list_value_length(lists), 0), pa.scalar(None, lists.type), lists)


def events_of(records: pa.RecordBatch, readings: pa.StructArray) -> pa.Table:
    """Columns of table events but ``ingest_id`` from ``records`` and what was read in them."""
    columns = dict(zip(readings.type.names, readings.flatten(), strict=True))
    lower = pc.ascii_lower(columns["action"])
    columns["action"] = pc.if_else(pc.is_in(lower, pa.array(KNOWN_ACTIONS)), lower, columns["action"])
    columns["event_key"] = keys_of(columns["event_id"])
    source = {"raw": "value", "kafka_key": "key", "received_at": "timestamp"}
    fields = [field for field in EVENT_COLUMNS if field.name != "ingest_id"]
    arrays = [columns[f.name] if f.name in columns else records[source.get(f.name, f.name)] for f in fields]
    return pa.table([array.cast(f.type) for array, f in zip(arrays, fields, strict=True)], schema=pa.schema(fields))


def keys_of(ids: pa.Array) -> pa.Array:
    """Spark's ``xxhash64`` of each text; null of null."""
    hashes = (xxhash.xxh64_intdigest(one or b"", SEED) for one in ids.cast(pa.binary()).to_pylist())
    absent = ids.is_null().to_numpy(zero_copy_only=False)
    return pa.array(np.fromiter(hashes, np.uint64, len(ids)).view(np.int64), mask=absent)


def as_bytes(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue()


def as_value(content: pa.Buffer) -> pa.Array:
    """One binary value, not copied."""
    offsets = pa.py_buffer(np.array([0, content.size], np.int32))
    return pa.Array.from_buffers(pa.binary(), 1, [None, offsets, content])


def arrivals_of(judged: pa.Table) -> pa.Table:
    """Of each record its reason, key and arrival: ``judged`` (these columns and ``arrivals``) with packs unpacked.

    ``is_packed`` tells where a record came from.
    """
    names = ["reason", "event_key", *ARRIVAL]
    rows = judged.filter(judged["arrivals"].is_null()).select(names)
    parts = [rows.append_column("is_packed", pa.array(np.zeros(rows.num_rows, np.bool_)))]
    for pack in judged["arrivals"].drop_null():
        events = table_in(pack)
        columns = [pa.nulls(events.num_rows, pa.string()), *[events[name] for name in names[1:]]]
        parts.append(pa.table([*columns, pa.array(np.ones(events.num_rows, np.bool_))], schema=parts[0].schema))
    return pa.concat_tables(parts)


def packs_in(judged: pa.RecordBatch) -> Iterator[pa.Table]:
    """The packs among rows of ``judged``, as tables with the columns of :data:`JUDGED`."""
    for row in np.flatnonzero(judged["events"].is_valid().to_numpy(zero_copy_only=False)):
        events = table_in(judged["events"][int(row)])
        columns = dict(zip(events.column_names, events.columns, strict=True))
        columns |= {name: pa.nulls(events.num_rows, pa.string()) for name in VERDICT}
        columns["ingest_id"] = pa.repeat(judged["ingest_id"][int(row)], events.num_rows)
        yield pa.table({name: columns[name] for name in JUDGED.fieldNames()})


def rows_in(judged: pa.RecordBatch) -> pa.Table:
    """The rows that are no packs, with the columns of :data:`JUDGED`."""
    rows = judged.filter(judged["events"].is_null())
    return pa.Table.from_batches([rows]).select(JUDGED.fieldNames())


def unpack(batches: Batches) -> Batches:
    """What a worker does to give Spark a row for each record."""
    declared = to_arrow_schema(JUDGED, timezone="UTC")
    for batch in batches:
        for table in (*packs_in(batch), rows_in(batch)):
            yield from table.cast(declared).to_batches()


def table_in(pack: pa.BinaryScalar) -> pa.Table:
    return pa.ipc.open_stream(pack.as_buffer()).read_all()
