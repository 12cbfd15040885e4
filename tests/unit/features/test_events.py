"""What is an event, what is not, and why: each class of input that collectors meet."""

from __future__ import annotations

from typing import Any

import pytest
from pyspark.sql import Row, SparkSession

from features.events import REASONS
from features.records import accepted, rejected, validate
from features.tables import EVENTS, REJECTED_EVENTS
from privacy.pseudonyms import ERASED_USER
from tests.unit.features.event_cases import ACCEPTED, REJECTED, RULES, utc

RECORDS = (
    "key binary, value binary, headers array<struct<key: string, value: binary>>, topic string, partition int, "
    "`offset` long, timestamp timestamp, ingested_at timestamp, ingest_id string"
)


@pytest.fixture(scope="module")
def validated(spark: SparkSession) -> dict[str, Row]:
    """All cases in one frame, validated; keyed by their sentences."""
    values = [(name, value) for name, (value, *_) in {**REJECTED, **ACCEPTED}.items()]
    received = utc(2026, 1, 1, 12)
    rows: list[tuple[Any, ...]] = [
        (name.encode(), value, [], "t", 0, i, received, received, "q:0") for i, (name, value) in enumerate(values)
    ]
    verdicts = validate(spark.createDataFrame(rows, RECORDS), RULES).persist()
    assert accepted(verdicts).schema.names == EVENTS.columns
    assert rejected(verdicts).schema.names == REJECTED_EVENTS.columns
    assert accepted(verdicts).count() + rejected(verdicts).count() == len(rows)
    return {row["kafka_key"].decode(): row for row in verdicts.collect()}


@pytest.mark.parametrize("sentence", REJECTED)
def test_is_rejected_with_its_reason_and_its_bytes(validated: dict[str, Row], sentence: str) -> None:
    value, *told = REJECTED[sentence]
    row = validated[sentence]
    assert [row["reason"], row["field"], row["detail"]] == told
    assert (None if row["raw"] is None else bytes(row["raw"])) == value
    assert (row["headers"], row["properties"]) == (None, None)
    assert row["user_id"] is None
    assert len(row["detail"] or "") <= 200


@pytest.mark.parametrize("sentence", ACCEPTED)
def test_is_accepted_with_every_value_unchanged(validated: dict[str, Row], sentence: str) -> None:
    value, expected = ACCEPTED[sentence]
    row = validated[sentence].asDict(recursive=True)
    assert row["reason"] is None, row["detail"]
    assert bytes(row["raw"]) == value
    assert {name: row[name] for name in expected} == expected


def test_every_reason_is_documented_and_met(validated: dict[str, Row]) -> None:
    met = {row["reason"] for row in validated.values()} - {None}
    assert met <= REASONS.keys()
    assert REASONS.keys() - met <= {"undecodable", "duplicate_event_id", ERASED_USER}
    assert ERASED_USER in REASONS
