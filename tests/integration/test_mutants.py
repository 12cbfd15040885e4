"""Spoiled records through Kafka: each ends in one table, nothing stops, nothing accepted is changed."""

from __future__ import annotations

import os
import random
from datetime import UTC, datetime
from typing import Any

import pytest
from confluent_kafka import Message
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.context import CONTEXT_FIELDS
from features.events import DEFAULT_RULES, FIELDS, REASONS, TIMES
from features.packed import VERDICT
from features.tables import EVENTS, REJECTED_EVENTS
from features.verdicts import reading_of
from kafka.ledger import audit
from kafka.producer import EventProducer
from serving.routes.collector import validate_all
from streams.rules import validation_rules
from tests.integration.conftest import Platform
from tests.unit.features.json_reference import expected_row, record, spoiled, written

pytestmark = pytest.mark.integration

MUTANTS = int(os.environ.get("BEHAVIOR_TEST_MUTANTS", "2000"))
"""Ten thousand before a release."""
MEGABYTE = 990_000
"""Kafka takes a million bytes, the record's own overhead among them."""


def corpus(seed: int) -> list[bytes | None]:
    """Nine of ten are spoiled; none holds several events, as those of test_batches do."""
    chance = random.Random(seed)
    found: list[bytes | None] = []
    for number in range(MUTANTS * 10 // 9 + 1):
        event = record(chance, number)
        if number % 500 == 0:
            event["properties"] = {"long": "\U0001f600é" * 1_200, **{f"key-{n}": "v" * 20 for n in range(100)}}
        value = written(chance, event) if number % 10 == 0 else spoiled(chance, event, MEGABYTE)
        is_several = isinstance(reading_of(value, DEFAULT_RULES, 0, None), list)
        found.append(written(chance, event) if is_several else value)
    return found


def rows(found: DataFrame, *names: str) -> list[dict[str, Any]]:
    columns = [F.unix_micros(name).alias(name) if name in TIMES else F.col(name) for name in names]
    number = F.col("kafka_key").cast("string").cast("int").alias("number")
    return list(found.select(number, *columns).toArrow().to_pylist())


def test_spoiled_records_end_in_one_table_each_and_no_accepted_value_changes(
    platform: Platform, producer: EventProducer
) -> None:
    sent = corpus(seed=int(os.environ.get("BEHAVIOR_TEST_SEED", "4")))
    failures: list[str] = []

    def report(error: object, _: Message) -> None:
        if error is not None:
            failures.append(str(error))

    for number, value in enumerate(sent):
        headers = [("number", str(number).encode()), ("odd", b"\x00\xff")]
        # None is a tombstone, which the helper for apps does not know.
        producer.send_and_report(value, str(number).encode(), report, headers=headers)  # type: ignore[arg-type]
    producer.flush()
    assert not failures
    platform.ingest()

    assert sum(e.difference + e.unread for e in audit(platform.spark, platform.lake, platform.settings)) == 0
    columns = (*FIELDS, *CONTEXT_FIELDS, "invalid_fields")
    taken = rows(platform.read(EVENTS), "raw", "headers", *columns)
    refused = rows(platform.read(REJECTED_EVENTS), "raw", "headers", *VERDICT)
    assert sorted(row["number"] for row in (*taken, *refused)) == list(range(len(sent)))
    for row in (*taken, *refused):
        assert row["raw"] == sent[row["number"]]
        assert [header["value"] for header in row["headers"]] == [str(row["number"]).encode(), b"\x00\xff"]
    assert {row["reason"] for row in refused} <= REASONS.keys()
    assert all(row["number"] % 10 for row in refused if row["reason"] != "duplicate_event_id")

    for row in taken:
        value = sent[row["number"]]
        found = {name: row[name] for name in columns}
        found["properties"] = dict(found["properties"]) if found["properties"] else None
        assert found == expected_row(value), value

    known = [row for row in (*taken, *refused) if row["raw"] is not None and row.get("reason") != "duplicate_event_id"]
    answer = validate_all([row["raw"] for row in known], validation_rules(platform.settings.ingest), datetime.now(UTC))
    faults = {error.pop("index"): error for error in answer.errors}
    for place, row in enumerate(known):
        assert {name: row.get(name) for name in VERDICT} == faults.get(place, dict.fromkeys(VERDICT)), row["raw"]
