"""Laws of packs: nothing is lost or changed in one, neither on its way through Arrow nor through Spark."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from features import records
from features.packed import ARRIVALS, PACKS, VALIDATED, arrivals, pack, tables_in, unpacked
from features.records import packer, validated
from tests.unit.features.event_cases import RULES

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HEADERS = pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())]))
INSTANT = pa.timestamp("us", tz="UTC")
SOME_HEADERS: list[list[tuple[str, bytes | None]]] = [[], [("trace", b"\x00\xff")], [("a", None), ("a", b"")], []]


def event(number: int, **more: Any) -> bytes:
    fields = {"user_id": f"user {number}", "action": "Click", "page": "/é", "timestamp": "2026-03-01T11:59:00Z"}
    return json.dumps({**fields, "event_id": f"id-{number}", **more}, ensure_ascii=False).encode()


def some_records(values: list[bytes | None]) -> pa.RecordBatch:
    """As Spark hands them to a worker."""
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
            "ingest_id": pa.array([f"q:{at}" for at in range(size)]),
        }
    )


MIXED = [event(at) if at % 3 else (b"no event" if at % 2 else None) for at in range(20)]


def packs(values: list[bytes | None]) -> Iterator[pa.RecordBatch]:
    return packer(RULES)(iter([some_records(values)]))


@pytest.mark.parametrize("pack_bytes", [records.PACK_BYTES, 300])
def test_every_record_is_in_one_pack_with_all_that_came_with_it(
    pack_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "PACK_BYTES", pack_bytes)
    sent, batches = some_records(MIXED), list(packs(MIXED))
    assert (len(batches) > 1) == (pack_bytes == 300)
    found = pa.concat_tables([table for batch in batches for table in tables_in(batch["records"])]).sort_by("offset")
    assert found.column_names == VALIDATED.names
    assert found["offset"].to_pylist() == sent["offset"].to_pylist()
    assert found["raw"].to_pylist() == sent["value"].to_pylist()
    assert found["headers"].to_pylist() == [some or None for some in sent["headers"].to_pylist()]
    assert found["ingest_id"].to_pylist() == sent["ingest_id"].to_pylist()
    for at, row in enumerate(found.to_pylist()):
        assert row["user_id"] == (f"user {at}" if at % 3 else None)
        assert row["action"] == ("click" if at % 3 else None)
        assert row["reason"] == (None if at % 3 else "not_json" if at % 2 else "tombstone")


def test_what_duplicates_are_found_by_is_the_same_beside_the_records_and_in_them() -> None:
    for batch in packs(MIXED):
        for beside, inside in zip(tables_in(batch["arrivals"]), tables_in(batch["records"]), strict=True):
            assert beside.equals(inside.select(ARRIVALS.names))


def test_an_empty_batch_has_no_packs() -> None:
    assert list(packs([])) == []


def test_packs_pass_spark_and_are_changed_as_they_are_unpacked(spark: SparkSession) -> None:
    table = validated(some_records(MIXED), RULES)
    frame = spark.createDataFrame(pa.Table.from_batches([pack(table), pack(table.slice(0, 0))]), PACKS)
    found = unpacked(frame, lambda rows: rows.filter(rows["reason"].is_null())).orderBy("offset").toArrow()
    expected = table.filter(table["reason"].is_null()).sort_by("offset")
    assert found.select(VALIDATED.names).to_pylist() == expected.to_pylist()
    assert arrivals(frame).orderBy("offset").toArrow().to_pylist() == (
        table.select(ARRIVALS.names).sort_by("offset").to_pylist()
    )
