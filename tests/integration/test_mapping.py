"""Events of other schemas from Kafka to the table, and again after their mapping was changed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from features.tables import EVENTS, REJECTED_EVENTS
from jobs import replay_rejected, try_mapping
from kafka.ledger import audit
from kafka.producer import EventProducer
from settings import cli
from tests.integration.conftest import Platform
from tests.unit.features.test_mapping import PAYLOADS

pytestmark = pytest.mark.integration
RECORDS = [
    json.dumps(record).replace('"e1"', f'"e{number}"').encode() for number, (_, record, _) in enumerate(PAYLOADS, 10)
]
"""Each with an event id of its own."""


def mapped(platform: Platform, name: str) -> Platform:
    """The platform with this mapping for its topic."""
    settings = platform.settings
    ingest = settings.ingest.model_copy(update={"mappings": {settings.kafka.topic: name}})
    return replace(platform, settings=settings.model_copy(update={"ingest": ingest}))


def test_records_of_another_schema_are_events_with_their_own_bytes(platform: Platform, producer: EventProducer) -> None:
    for value in RECORDS:
        producer.send_raw(value, None)
    producer.flush()
    segment = mapped(platform, "segment")
    segment.ingest()
    names = [name for name, *_ in PAYLOADS]
    events = {bytes(row["raw"]): row for row in platform.read(EVENTS).collect()}
    for value, (name, _, expected) in zip(RECORDS, PAYLOADS, strict=True):
        if name == "segment":
            row = events[value]
            assert (row["action"], row["page"], row["user_id"]) == expected[:3]
    assert platform.read(REJECTED_EVENTS).where("detail LIKE 'mapping segment finds none of%'").count() > 0
    assert sum(entry.difference for entry in audit(platform.spark, platform.lake, platform.settings)) == 0

    before = len(events)
    ecs = mapped(platform, "ecs")
    replay_rejected.replay(ecs.spark, ecs.lake, ecs.settings, "missing_field", None)
    after = {bytes(row["raw"]): row for row in platform.read(EVENTS).collect()}
    assert len(after) > before
    row = after[RECORDS[names.index("ecs")]]
    assert (row["action"], row["user_id"], row["outcome"]) == ("login", "u1", "failed")
    assert sum(entry.difference for entry in audit(platform.spark, platform.lake, platform.settings)) == 0


def test_a_file_is_tried_and_a_mapping_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "payloads.jsonl"
    file.write_bytes(b"\n".join(value for value, (name, *_) in zip(RECORDS, PAYLOADS, strict=True) if name == "ocsf"))
    cli.app_of(try_mapping.main)(args=["--input", str(file)], standalone_mode=False)
    said = capsys.readouterr().out
    assert "They look like ocsf." in said
    assert "1 of 1 records are events." in said
    assert "user_behavior_topic: ocsf" in said
