"""Laws of validated records in Arrow: the compiled pass and the validator together give the answers of one."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from features.context import CONTEXT_FIELDS
from features.events import FIELDS, TIMES
from features.hashing import xxhash64
from features.packed import VERDICT, null_where_empty
from features.plain_reading import plain_readings
from features.records import validated
from features.verdicts import reading_of
from serving.routes.collector import validate_all
from tests.unit.features.event_cases import ACCEPTED, NOON, REJECTED, RULES
from tests.unit.features.json_reference import expected_row, record, spoiled
from tests.unit.features.test_packed import some_records

MUTANTS = int(os.environ.get("BEHAVIOR_TEST_MUTANTS", "2000"))
CASES = [*[value for value, *_ in REJECTED.values()], *[value for value, _ in ACCEPTED.values()]]


def corpus(seed: int) -> list[bytes | None]:
    """Every known case, and spoiled records, of which each is one row; test_batches has those that are several."""
    chance = random.Random(seed)
    mutants = [spoiled(chance, record(chance, number), 5_000) for number in range(MUTANTS)]
    return [*CASES, *[value for value in mutants if not isinstance(reading_of(value, RULES, NOON, NOON), list)]]


def table_of(values: Sequence[bytes | None]) -> pa.Table:
    """Validated at noon, in the order of ``values``."""
    records = some_records(list(values))
    noon = pa.array([NOON] * len(values), pa.int64()).cast(pa.timestamp("us", tz="UTC"))
    for name in ("timestamp", "ingested_at"):
        records = records.set_column(records.schema.get_field_index(name), name, noon)
    return validated(null_where_empty(records), RULES).sort_by("offset")


def test_the_collector_answers_with_the_reason_field_and_detail_of_the_tables() -> None:
    values = [value for value in corpus(seed=5) if value is not None]
    answer = validate_all(values, RULES, datetime(2026, 1, 1, 12, tzinfo=UTC))
    told = {error["index"]: tuple(error[name] for name in VERDICT) for error in answer.errors}
    found = table_of(values)
    assert found["raw"].to_pylist() == values
    assert found["user_id"].is_valid().to_pylist() == [place not in told for place in range(len(values))]
    for place, row in enumerate(found.select(VERDICT).to_pylist()):
        assert tuple(row.values()) == told.get(place, (None, None, None)), values[place]
    assert answer.good == [
        (place, (user.encode(), values[place])) for place, user in enumerate(found["user_id"].to_pylist()) if user
    ]


def test_accepted_records_have_every_value_as_an_independent_reading_finds_it() -> None:
    found = table_of(corpus(seed=6))
    events = found.filter(found["reason"].is_null()).select(["raw", *FIELDS, *CONTEXT_FIELDS, "invalid_fields"])
    for name in TIMES:
        events = events.set_column(events.column_names.index(name), name, events[name].cast(pa.int64()))
    assert events.num_rows > MUTANTS // 20
    for row in events.to_pylist():
        raw = row.pop("raw")
        assert row | {"properties": dict(row["properties"] or ()) or None} == expected_row(raw), raw


def test_the_validator_alone_says_what_both_say(monkeypatch: pytest.MonkeyPatch) -> None:
    values = corpus(seed=7)
    both = table_of(values)

    def take_none(values: pa.Array, *others: Any) -> pa.StructArray:
        return pa.nulls(len(values), plain_readings(values, *others).type)

    monkeypatch.setattr("features.records.plain_readings", take_none)
    assert table_of(values).to_pylist() == both.to_pylist()


def test_keys_are_those_of_spark(spark: SparkSession) -> None:
    texts = [None, "", "a", "Łódź 🦊", *["x" * size for size in range(1, 70)], "é" * 500]
    rows = spark.createDataFrame([(text,) for text in texts], "id string").select(F.xxhash64("id"))
    expected = [None if text is None else row[0] for text, row in zip(texts, rows.collect(), strict=True)]
    assert xxhash64(pa.array(texts)).to_pylist() == expected
