"""Events of other schemas from Kafka to the table, and again after their mapping was changed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from features.events import MAPPING_HEADER
from features.tables import EVENTS, REJECTED_EVENTS, SCORES
from jobs import promote_model, replay_rejected, train_model, try_mapping
from kafka.ledger import audit
from kafka.producer import EventProducer
from settings import cli
from tests.integration.conftest import Platform
from tests.integration.test_pipeline import people, send
from tests.unit.features.schemas.test_mapping import PAYLOADS

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


def of_session(number: int, minute: int) -> list[bytes]:
    """A payload as eight records of one session, ten seconds apart, by a user of its own and with ids of their own."""
    _, record, (_, _, user, event_id, _) = PAYLOADS[number]
    text = json.dumps(record).replace(json.dumps(user), json.dumps(user_of(number)))
    records = []
    for n in range(8):
        moved = text.replace("1760529600", str(1760529600 + 60 * minute + 5 * n))
        for hour in ("12", "14"):
            moved = moved.replace(f"{hour}:00:00", f"{hour}:{minute:02}:{5 * n:02}")
        records.append((moved if event_id is None else moved.replace(f'"{event_id}"', f'"{number}-{n}"')).encode())
    return records


def user_of(number: int) -> str:
    return f"{PAYLOADS[number][0]}-{number}"


@pytest.mark.slow
def test_events_of_every_shipped_schema_are_scored(platform: Platform, producer: EventProducer) -> None:
    send(producer, *people(1500))
    names = {name for name, *_ in PAYLOADS}
    for number, (name, *_) in enumerate(PAYLOADS):
        for value in of_session(number, minute=3):
            producer.send_raw(value, None, headers=[(MAPPING_HEADER, name.encode())])
    producer.flush()
    settings = platform.settings
    ingest = settings.ingest.model_copy(update={"mappings": {name: name for name in names}})
    all_of_them = replace(platform, settings=settings.model_copy(update={"ingest": ingest}))
    all_of_them.ingest()
    all_of_them.build()
    version = train_model.train(platform.spark, platform.lake, all_of_them.settings)
    promote_model.promote(all_of_them.settings, version, why="test")
    all_of_them.score()

    assert platform.read(REJECTED_EVENTS).count() == 0
    events = platform.read(EVENTS).groupBy("user_id", "action", "page").count().collect()
    counts = {(row["user_id"], row["action"], row["page"]): row["count"] for row in events}
    scores = platform.read(SCORES).where("verdict <> 'insufficient_data'").select("user_id").distinct().collect()
    scored = {row["user_id"] for row in scores}
    for number, (_, _, (action, page, *_)) in enumerate(PAYLOADS):
        assert counts[user_of(number), action, page] == 8
        assert user_of(number) in scored


def test_a_file_is_tried_and_a_mapping_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "payloads.jsonl"
    file.write_bytes(b"\n".join(value for value, (name, *_) in zip(RECORDS, PAYLOADS, strict=True) if name == "ocsf"))
    cli.app_of(try_mapping.main)(args=["--input", str(file)], standalone_mode=False)
    said = capsys.readouterr().out
    assert "They look like ocsf." in said
    assert "1 of 1 records are events." in said
    assert "user_behavior_topic: ocsf" in said
