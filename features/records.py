"""Kafka's records -> validated records: the compiled pass takes most of them, the strict validator those it leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema

from features.columns import shaped
from features.context import context_of
from features.errors import SchemaError
from features.events import KNOWN_ACTIONS, ValidationRules
from features.folding import people_in
from features.hashing import xxhash64
from features.packed import PACKS, VALIDATED, VERDICT, Batches, null_where_empty, pack, unpacked, without_null_lists
from features.plain_reading import plain_readings
from features.tables import EVENTS, REJECTED_EVENTS
from features.validation import Event, Rejection
from features.verdicts import verdict_of

RECORD = ("key", "value", "headers", "topic", "partition", "offset", "timestamp", "ingested_at", "ingest_id")
TABLE_NAMES = {"value": "raw", "key": "kafka_key", "timestamp": "received_at"}
"""Kafka's columns under the names of the tables, where these differ."""
PACK_BYTES = 16_000_000
"""Of records that make a pack, at most, unless one has more: a value of Spark ends at 2 GB."""

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
        One row per record: ``reason`` (null: accepted), ``field`` and ``detail`` (up to 200 characters), all columns of
        events (null where rejected) and all coordinates. Works on streams and batches alike.

    Raises:
        SchemaError: ``records`` lacks a column.
    """
    return unpacked(validate_in_packs(records, rules))


def validate_in_packs(records: DataFrame, rules: ValidationRules, look_back_micros: int | None = None) -> DataFrame:
    """:func:`validate` with the records in packs (:mod:`features.packed`), for who can take them as they are.

    With ``look_back_micros`` a pack says whose events it has, see :func:`features.folding.people_in`.
    """
    require(records, RECORD)
    return without_null_lists(records.select(*RECORD)).mapInArrow(packer(rules, look_back_micros), PACKS)


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

    def packed(records: pa.RecordBatch) -> pa.RecordBatch:
        rows = validated(records, rules)
        return pack(rows, None if look_back_micros is None else people_in(rows, look_back_micros))

    def work(batches: Batches) -> Batches:
        for batch in batches:
            parts = max(1, batch.nbytes // PACK_BYTES)
            size = -(-batch.num_rows // parts)
            for start in range(0, batch.num_rows, size or 1):
                yield packed(null_where_empty(batch.slice(start, size)))

    return work


def validated(records: pa.RecordBatch, rules: ValidationRules) -> pa.Table:
    """Records with the columns of :data:`RECORD` as ones with the columns of :data:`~features.packed.VALIDATED`.

    Those beyond doubt come first.
    """
    now = pc.fill_null(records["ingested_at"].cast(pa.int64()), 0)
    arrived = records["timestamp"].cast(pa.int64())
    plain = plain_readings(records["value"], now, arrived, rules)
    is_plain = plain.is_valid()
    parts = []
    if plain.null_count < len(plain):
        sure = plain.filter(is_plain)
        parts.append(_table(records.filter(is_plain), dict(zip(sure.type.names, sure.flatten(), strict=True))))
    if plain.null_count:
        is_doubtful = pc.invert(is_plain)
        columns = [
            column.filter(is_doubtful).to_pylist() for column in (records["value"], now, arrived, records["topic"])
        ]
        read = [verdict_of(value, rules, *rest) for value, *rest in zip(*columns, strict=True)]
        parts.append(_table(records.filter(is_doubtful), _columns(read)))
    return pa.concat_tables(parts) if parts else _SCHEMA.empty_table()


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
    names = [TABLE_NAMES.get(name, name) for name in records.schema.names]
    columns = dict(zip(names, records.columns, strict=True)) | read | context._asdict()
    lower = pc.ascii_lower(columns["action"])
    columns["action"] = pc.if_else(pc.is_in(lower, pa.array(KNOWN_ACTIONS)), lower, columns["action"])
    columns["event_key"] = xxhash64(columns["event_id"])
    for name in VERDICT:
        columns.setdefault(name, pa.nulls(records.num_rows, pa.string()))
    return pa.table([columns[field.name].cast(field.type) for field in _SCHEMA], schema=_SCHEMA)
