"""Laws of packed events: nothing is lost or changed in a pack, and what is done to one is what Spark does to rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema

from features import packed
from features.duplicates import POSITION, reject_duplicates, reject_repeated
from features.erasure import ERASED_USER, Guard, keyed_hash_of
from features.packed import JUDGED, PLAIN, arrivals_of, keys_of, packer, packs_in, rows_in
from features.plain_json import NO_LIMIT

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LIMITS = np.array([1_000_000, 10, 0, 10**15, NO_LIMIT], np.int64)
KEY = b"sixteen bytes ok"
HEADERS = pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())]))
INSTANT = pa.timestamp("us", tz="UTC")
SOME_HEADERS: list[list[tuple[str, bytes | None]]] = [[], [("trace", b"\x00\xff")], [("a", None), ("a", b"")], []]


def event(number: int, **more: Any) -> bytes:
    fields = {"user_id": f"user {number}", "action": "Click", "page": "/é", "timestamp": "2026-03-01T11:59:00Z"}
    return json.dumps({**fields, "event_id": f"id-{number}", **more}, ensure_ascii=False).encode()


def records(values: list[bytes | None]) -> pa.RecordBatch:
    size = len(values)
    headers = [SOME_HEADERS[at % len(SOME_HEADERS)] for at in range(size)]
    return pa.RecordBatch.from_pydict(
        {
            "key": pa.array([b"key"] * size),
            "value": pa.array(values, pa.binary()),
            "headers": pa.array([[{"key": k, "value": v} for k, v in some] for some in headers], HEADERS),
            "topic": pa.array(["t"] * size),
            "partition": pa.array([1] * size, pa.int32()),
            "offset": pa.array(range(size), pa.int64()),
            "timestamp": pa.array([NOON] * size, INSTANT),
            "ingested_at": pa.array([NOON] * size, INSTANT),
            "ingest_id": pa.array(["q:7"] * size),
        }
    )


def packs(*batches: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """As Spark hands them on: packs and records in doubt, not judged."""
    for batch in packer(LIMITS)(iter(batches)):
        plain = batch["plain"].flatten()
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        columns |= {"received_at": batch["timestamp"], "raw": batch["value"], "kafka_key": batch["key"]}
        columns |= dict(zip(PLAIN.dataType.fieldNames(), plain, strict=True))  # type: ignore[attr-defined]
        for field in to_arrow_schema(JUDGED, timezone="UTC"):
            columns.setdefault(field.name, pa.nulls(batch.num_rows, field.type))
        yield pa.RecordBatch.from_pydict(columns)


@pytest.mark.parametrize("pack_bytes", [packed.PACK_BYTES, 300])
def test_a_record_is_in_a_pack_or_a_row_with_all_that_came_with_it(
    pack_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "PACK_BYTES", pack_bytes)
    sent = records([event(at) if at % 3 else (b"no event" if at % 2 else None) for at in range(20)])
    batches = list(packs(sent))
    tables = [table for batch in batches for table in (*packs_in(batch), rows_in(batch))]
    assert (sum(1 for batch in batches for _ in packs_in(batch)) > 1) == (pack_bytes == 300)
    found = pa.concat_tables(tables).sort_by("offset")
    assert found["offset"].to_pylist() == sent["offset"].to_pylist()
    assert found["raw"].to_pylist() == sent["value"].to_pylist()
    assert found["headers"].to_pylist() == [some or None for some in sent["headers"].to_pylist()]
    assert set(found["ingest_id"].to_pylist()) == {"q:7"}
    for at, user in enumerate(found["user_id"].to_pylist()):
        assert user == (f"user {at}" if at % 3 else None)
    assert {action for action in found["action"].to_pylist() if action} == {"click"}


def test_what_duplicates_are_found_by_is_the_same_beside_a_pack_and_in_it() -> None:
    batches = list(packs(records([event(at) if at % 3 else b"no event" for at in range(9)]), records([b"{}"])))
    found = arrivals_of(pa.Table.from_batches([b.select(["arrivals", "reason", *packed.FOUND_BY]) for b in batches]))
    inside = pa.concat_tables([table for batch in batches for table in packs_in(batch)])
    assert found.num_rows == 10
    taken = found.filter(found["is_packed"])
    assert taken.select(packed.FOUND_BY).equals(inside.select(packed.FOUND_BY))


def test_keys_are_those_of_spark(spark: SparkSession) -> None:
    texts = [None, "", "a", "Łódź 🦊", *["x" * size for size in range(1, 70)], "é" * 500]
    rows = spark.createDataFrame([(text,) for text in texts], "id string").select(F.xxhash64("id"))
    expected = [None if text is None else row[0] for text, row in zip(texts, rows.collect(), strict=True)]
    assert keys_of(pa.array(texts)).to_pylist() == expected


def with_odd_people() -> pa.Table:
    """Packed events of everybody, under every Kafka key."""
    erased = keyed_hash_of("ada", KEY)
    people, keys = ["ada", "bob", erased, "Łódź 🦊"], [None, b"ada", b"bob", b"\xff", erased.encode()]
    rows = [
        {
            "user_id": user, "action": "click", "page": "/a", "timestamp": NOON, "event_id": f"{user}-{number}" * 20,
            "properties": [("a", "b")] if number % 2 else None, "raw": b"{}", "kafka_key": key, "event_key": number,
            "headers": [{"key": "h", "value": b"v"}] if number % 2 else None, "topic": "t", "partition": number % 2,
            "offset": number, "received_at": NOON, "ingested_at": NOON, "ingest_id": "q:0",
        }
        for number, (user, key) in enumerate(product(people, keys))
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=to_arrow_schema(JUDGED, timezone="UTC"))


@pytest.mark.parametrize("pseudonyms", [False, True])
@pytest.mark.parametrize("erased", [frozenset(), frozenset({keyed_hash_of("ada", KEY)})])
def test_a_pack_is_guarded_and_rid_of_repeated_ids_as_rows_of_spark_are(
    spark: SparkSession, erased: frozenset[str], pseudonyms: bool
) -> None:
    events = with_odd_people()
    repeated = events.filter(pa.array([at % 3 == 0 for at in range(events.num_rows)])).select(POSITION)
    guard = Guard(erased, KEY, pseudonyms)
    found = guard.pack(reject_repeated(events, repeated))
    rows: DataFrame = spark.createDataFrame(events)
    expected = guard.rows(reject_duplicates(rows, spark.createDataFrame(repeated))).orderBy("offset").toArrow()
    assert found.to_pylist() == expected.select(found.column_names).to_pylist()
    assert (ERASED_USER in found["reason"].to_pylist()) == bool(erased)


def test_an_empty_batch_has_no_packs() -> None:
    assert list(packer(LIMITS)(iter([records([])]))) == []
