"""Kafka's records -> validated records: the compiled pass takes most of them, the strict validator those it leaves."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema

from features.columns import shaped
from features.context import context_of
from features.errors import SchemaError
from features.events import KNOWN_ACTIONS, MAPPING_HEADER, ValidationRules
from features.folding import people_in
from features.hashing import xxhash64
from features.identities import links_in
from features.packed import PACKS, VALIDATED, VERDICT, Batches, null_where_empty, pack, unpacked, without_null_lists
from features.plain_reading import plain_readings
from features.schemas.cloudevents import Headers
from features.tables import EVENTS, REJECTED_EVENTS
from features.validation import Event, Rejection
from features.verdicts import Source, reading_of, verdict_of

RECORD = ("key", "value", "headers", "topic", "partition", "offset", "timestamp", "ingested_at", "ingest_id")
PART = ("part", "parts")
"""Records from the tables have these two as well: which of the events of a record in Kafka each is."""
TABLE_NAMES = {"value": "raw", "key": "kafka_key", "timestamp": "received_at"}
"""Kafka's columns under the names of the tables, where these differ."""
PACK_BYTES = 16_000_000
"""Of records that make a pack, at most, unless one has more: a value of Spark ends at 2 GB."""

MOST_AT_ONCE = 20_000
"""Events that are cut out of records before they are validated; those of one record stay together."""

_SCHEMA = to_arrow_schema(VALIDATED, timezone="UTC")
_READ = pa.schema([_SCHEMA.field(name) for name in (*VERDICT, *Event._fields)])
_ACCEPTED = (None,) * len(VERDICT)
_NO_EVENT = (None,) * len(Event._fields)


# --- Spark -------------------------------------------------------------------------------------------------------


def validate(records: DataFrame, rules: ValidationRules) -> DataFrame:
    """Give every record its verdict.

    Args:
        records: Kafka's columns ``key``, ``value``, ``headers``, ``topic``, ``partition``, ``offset`` and ``timestamp``
            (the source option ``includeHeaders`` is on), and the reader's ``ingested_at`` and ``ingest_id``.
        rules: the limits.

    Returns:
        One row per record, or per event of one that holds several: ``reason`` (null: accepted), ``field`` and
        ``detail`` (up to 200 characters), all columns of events (null where rejected) and all coordinates. Works on
        streams and batches alike.

    Raises:
        SchemaError: ``records`` lacks a column.
    """
    return unpacked(validate_in_packs(records, rules))


def validate_in_packs(records: DataFrame, rules: ValidationRules, look_back_micros: int | None = None) -> DataFrame:
    """:func:`validate` with the records in packs (:mod:`features.packed`), for who can take them as they are.

    With ``look_back_micros`` a pack says whose events it has and what links they tell, see :data:`PACKS`.
    """
    require(records, RECORD)
    named = [*RECORD, *(name for name in PART if name in records.columns)]
    return without_null_lists(records.select(named)).mapInArrow(packer(rules, look_back_micros), PACKS)


def accepted(validated: DataFrame) -> DataFrame:
    """The events among the validated records, in the schema order of table ``events``."""
    return shaped(validated.where(F.col("reason").isNull()), EVENTS.schema)


def rejected(validated: DataFrame) -> DataFrame:
    """The records that are no event, in the schema order of table ``rejected_events``."""
    return shaped(validated.where(F.col("reason").isNotNull()), REJECTED_EVENTS.schema)


def require(records: DataFrame, columns: Iterable[str]) -> None:
    lacking = [name for name in columns if name not in records.columns]
    if lacking:
        hint = " Set the Kafka source's option includeHeaders." if "headers" in lacking else ""
        raise SchemaError(f"Records lack {', '.join(lacking)}; found {', '.join(records.columns)}.{hint}")


# --- Arrow -------------------------------------------------------------------------------------------------------


def packer(rules: ValidationRules, look_back_micros: int | None = None) -> Callable[[Batches], Batches]:
    """What a worker does with records (:data:`RECORD`; lists empty in place of null): it validates and packs them."""

    def packed(rows: pa.Table) -> pa.RecordBatch:
        if look_back_micros is None:
            return pack(rows)
        links = links_in(rows)
        return pack(rows, people_in(rows, look_back_micros), links if links.num_rows else None)

    def work(batches: Batches) -> Batches:
        for batch in batches:
            for some in sliced(batch, batch.nbytes):
                for rows in validated_in_parts(null_where_empty(some), rules):
                    yield from map(packed, sliced(rows, rows.nbytes))

    return work


Rows = TypeVar("Rows", pa.RecordBatch, pa.Table)
Item = TypeVar("Item")


def sliced(rows: Rows, size: int) -> Iterator[Rows]:
    """Slices of :data:`PACK_BYTES` at most, or of one row that is larger; ``size`` is that of all."""
    parts = max(1, -(-size // PACK_BYTES))
    count = max(1, -(-rows.num_rows // parts))
    for start in range(0, rows.num_rows, count):
        yield rows.slice(start, count)


def validated(records: pa.RecordBatch, rules: ValidationRules) -> pa.Table:
    """Records with the columns of :data:`RECORD` as ones with the columns of :data:`~features.packed.VALIDATED`.

    Those beyond doubt come first, and the events of records that hold several come last.
    """
    tables = list(validated_in_parts(records, rules))
    return pa.concat_tables(tables) if tables else _SCHEMA.empty_table()


def validated_in_parts(records: pa.RecordBatch, rules: ValidationRules) -> Iterator[pa.Table]:
    """:func:`validated` in tables of some :data:`PACK_BYTES` each, however much is packed in the records."""
    for group in _groups(_tables(records, rules), lambda table: int(table.nbytes), PACK_BYTES):
        yield pa.concat_tables(group)


def _groups(items: Iterable[Item], size: Callable[[Item], int], enough: int) -> Iterator[list[Item]]:
    """The ``items`` in their order, in lists that end as soon as their sizes are ``enough`` together."""
    group: list[Item] = []
    left = enough
    for item in items:
        group.append(item)
        left -= size(item)
        if left <= 0:
            yield group
            group, left = [], enough
    if group:
        yield group


def _tables(records: pa.RecordBatch, rules: ValidationRules) -> Iterator[pa.Table]:
    plain = plain_readings(records["value"], *_clocks(records), rules)
    is_plain = plain.is_valid()
    if plain.null_count < len(plain):
        sure = plain.filter(is_plain)
        yield _table(records.filter(is_plain), dict(zip(sure.type.names, sure.flatten(), strict=True)))
    if plain.null_count:
        doubtful = records.filter(pc.invert(is_plain))
        if rules.decoders and "raw" not in records.schema.names:
            doubtful = yield from _decoded(doubtful, rules)
        yield from _doubtful(doubtful, rules)


def _clocks(records: pa.RecordBatch) -> tuple[pa.Array, pa.Array]:
    """Microseconds since 1970 when each was read, and when Kafka received it."""
    return pc.fill_null(records["ingested_at"].cast(pa.int64()), 0), records["timestamp"].cast(pa.int64())


def _doubtful(records: pa.RecordBatch, rules: ValidationRules) -> Iterator[pa.Table]:
    """Those that are one event or none by the strict reading, and the events of the others."""
    part = records["part"] if "part" in records.schema.names else pa.nulls(records.num_rows)
    columns = [one.to_pylist() for one in (part, records["value"], *_clocks(records))]
    read = [
        (reading_of if part is None else verdict_of)(value, rules, now, arrived, source)
        for part, value, now, arrived, source in zip(*columns, _sources(records, rules), strict=True)
    ]
    single = [one for one in read if not isinstance(one, list)]
    if single:
        yield _table(records.filter(pa.array([not isinstance(one, list) for one in read])), _columns(single))
    batches = ((row, one) for row, one in enumerate(read) if isinstance(one, list))
    for group in _groups(batches, lambda batch: len(batch[1]), MOST_AT_ONCE):
        yield from _tables(_events_of(records, group), rules)


def _sources(records: pa.RecordBatch, rules: ValidationRules) -> list[Source]:
    """Where each came from: a mapping is found by the name in its header, or by its topic."""
    beside = pc.fill_null(pc.binary_length(records["key"]), 0).to_pylist()
    columns = (records["topic"].to_pylist(), records["headers"].to_pylist(), beside)
    return [_source(topic, headers or (), beside, rules) for topic, headers, beside in zip(*columns, strict=True)]


def _source(topic: str, headers: Headers, beside: int, rules: ValidationRules) -> Source:
    named = next((one["value"] for one in headers if one["key"] == MAPPING_HEADER), None)
    name = named.decode("utf-8", "replace") if isinstance(named, bytes) else ""
    size = beside + sum(len(one["key"] or "") + len(one["value"] or b"") for one in headers)
    return Source(name if name in rules.mappings else topic, headers, size)


def _events_of(records: pa.RecordBatch, batches: Sequence[tuple[int, Sequence[bytes]]]) -> pa.RecordBatch:
    """The texts of the events in the ``records`` at these rows, as records of their own."""
    rows, texts = zip(*batches, strict=True)
    counts = [len(one) for one in texts]
    whole = records.take(pa.array(np.repeat(rows, counts)))
    columns = {name: whole[name] for name in RECORD} | {
        "value": pa.array(chain.from_iterable(texts), whole["value"].type),
        "part": pa.array(np.concatenate([np.arange(1, count + 1) for count in counts]), pa.int32()),
        "parts": pa.array(np.repeat(counts, counts), pa.int32()),
    }
    return pa.RecordBatch.from_pydict(columns)


# --- packed and encoded values ---


def _decoded(records: pa.RecordBatch, rules: ValidationRules) -> Generator[pa.Table, None, pa.RecordBatch]:
    """Those records that are packed or encoded, with their bytes as they came; returns those that are neither."""
    rest: list[int] = []

    def undone() -> Iterator[tuple[int, bytes | Rejection]]:
        for row, value in enumerate(records["value"]):
            plain = _undone(value.as_py(), rules) if value.is_valid else None
            if plain is None:
                rest.append(row)
            else:
                yield row, plain

    for group in _groups(undone(), lambda one: len(one[1]), PACK_BYTES):
        rows, found = zip(*group, strict=True)
        yield from _of_decoded(records.take(pa.array(rows)), found, rules)
    return records.take(pa.array(rest, pa.int64()))


def _undone(value: bytes, rules: ValidationRules) -> bytes | Rejection | None:
    """The bytes that a value stands for, or why it stands for none; None where no decoder is for it."""
    plain = None
    for decode in rules.decoders:
        found = decode(value)
        if isinstance(found, Rejection):
            return found
        if found is not None:
            plain = value = found
    return plain


def _of_decoded(
    records: pa.RecordBatch, found: Sequence[bytes | Rejection], rules: ValidationRules
) -> Iterator[pa.Table]:
    refused = [one for one in found if isinstance(one, Rejection)]
    if refused:
        yield _table(records.filter(pa.array([isinstance(one, Rejection) for one in found])), _columns(list(refused)))
    texts = [one for one in found if isinstance(one, bytes)]
    if texts:
        own = records.filter(pa.array([isinstance(one, bytes) for one in found]))
        columns = dict(zip(own.schema.names, own.columns, strict=True))
        plain = {"raw": own["value"], "value": pa.array(texts, own["value"].type)}
        yield from _tables(pa.RecordBatch.from_pydict(columns | plain), rules)


# --- columns ---


def _columns(read: list[Event | Rejection]) -> dict[str, pa.Array]:
    """Of each record the verdict and the event's fields."""
    rows = [(*one, *_NO_EVENT) if isinstance(one, Rejection) else (*_ACCEPTED, *_listed(one)) for one in read]
    columns = zip(*rows, strict=True)
    return {field.name: pa.array(values, field.type) for field, values in zip(_READ, columns, strict=True)}


def _listed(event: Event) -> tuple[Any, ...]:
    """Its fields; Arrow takes a map as a list of pairs."""
    *fields, properties = event
    return (*fields, None if properties is None else list(properties.items()))


def _table(records: pa.RecordBatch, read: dict[str, pa.Array]) -> pa.Table:
    """The columns ``read`` from ``records``, those made of them, and all coordinates."""
    context, read["properties"] = context_of(read["properties"])
    columns = {TABLE_NAMES.get(name, name): records[name] for name in records.schema.names if name != "raw"}
    if "raw" in records.schema.names:  # of what was decoded, and not the text that is read
        columns["raw"] = records["raw"]
    columns |= read | context._asdict()
    lower = pc.ascii_lower(columns["action"])
    columns["action"] = pc.if_else(pc.is_in(lower, pa.array(KNOWN_ACTIONS)), lower, columns["action"])
    columns["event_key"] = xxhash64(columns["event_id"])
    for name in (*VERDICT, *PART):
        columns.setdefault(name, pa.nulls(records.num_rows, _SCHEMA.field(name).type))
    return pa.table([columns[field.name].cast(field.type) for field in _SCHEMA], schema=_SCHEMA)
