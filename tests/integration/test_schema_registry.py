"""Values of a real schema registry's serializers, from a real broker to the tables."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from typing import Any

import fastavro
import pytest

from features.errors import BehaviorError, EnvironmentProblem
from features.tables import EVENTS, REJECTED_EVENTS
from features.validation import Rejection
from jobs import ingest_events, rebuild_events, replay_rejected
from kafka.ledger import audit
from kafka.producer import EventProducer
from streams import queries
from streams.schema_registry import SchemaRegistry
from tests.integration.conftest import Platform
from tests.integration.test_rebuild_events import content
from tools.machine import Problem
from tools.schema_registry import RegistryServer

pytestmark = [pytest.mark.integration, pytest.mark.slow]
FIELDS = ("user_id", "action", "page", "event_id")
AVRO: dict[str, Any] = {
    "type": "record",
    "name": "Event",
    "fields": [
        *[{"name": name, "type": "string"} for name in FIELDS],
        {"name": "timestamp", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "place", "type": ["null", "site.Place"], "default": None},
    ],
}
PLACE = {"type": "record", "name": "site.Place", "fields": [{"name": "path", "type": "string"}]}
REFERENCE = {"name": "site.Place", "subject": "place", "version": 1}
PROTO = """syntax = "proto3"; import "google/protobuf/timestamp.proto";
message Event { string user_id = 1; string action = 2; string page = 3; google.protobuf.Timestamp timestamp = 4; }"""
JSON_SCHEMA = '{"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}'
MILLIS = 1_772_366_400_000


@pytest.fixture
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    server = RegistryServer(tmp_path_factory.mktemp("registry"))
    try:
        server.start()
    except Problem as problem:
        pytest.skip(str(problem))
    yield server
    server.stop()


def reading_it(platform: Platform, registry: RegistryServer, away_seconds: int = 60) -> Platform:
    chosen = {"schema_registry_url": registry.url, "schema_registry_away_seconds": away_seconds}
    ingest = platform.settings.ingest.model_copy(update=chosen)
    return replace(platform, settings=platform.settings.model_copy(update={"ingest": ingest}))


def framed(number: int, body: bytes) -> bytes:
    return b"\0" + number.to_bytes(4, "big") + body


def avro(number: int, event_id: str) -> bytes:
    names: dict[str, Any] = {}
    fastavro.parse_schema(PLACE, named_schemas=names)
    out = BytesIO()
    record = {"user_id": "u1", "action": "view", "page": "/a", "event_id": event_id, "timestamp": MILLIS}
    fastavro.schemaless_writer(out, fastavro.parse_schema(AVRO, named_schemas=names), {**record, "place": None})
    return framed(number, out.getvalue())


def protobuf(number: int) -> bytes:
    texts = b"".join(bytes([at << 3 | 2, len(text)]) + text for at, text in enumerate((b"u2", b"click", b"/b"), 1))
    return framed(number, b"\0" + texts + b"\x22\x06\x08\xc0\xd4\x90\xcd\x06")


def plain(event_id: str) -> bytes:
    event = {"user_id": "u3", "action": "view", "page": "/c", "event_id": event_id, "timestamp": "2026-03-01T12:00:00Z"}
    return json.dumps(event).encode()


def register(registry: RegistryServer) -> int:
    """The events of Avro, which refer to another schema."""
    registry.register("place", json.dumps(PLACE))
    return registry.register("events-value", json.dumps(AVRO), references=[REFERENCE])


def events(platform: Platform) -> list[tuple[str, str, str]]:
    rows = platform.read(EVENTS).select("user_id", "action", "page").collect()
    return sorted((row["user_id"], row["action"], row["page"]) for row in rows)


def rejected(platform: Platform) -> list[tuple[str, str]]:
    rows = platform.read(REJECTED_EVENTS).select("reason", "detail").collect()
    return sorted((row["reason"], row["detail"]) for row in rows)


def difference(platform: Platform) -> int:
    return sum(entry.difference for entry in audit(platform.spark, platform.lake, platform.settings))


def test_values_of_every_kind_are_events_with_their_bytes_and_an_unknown_schema_waits_for_its_replay(
    platform: Platform, producer: EventProducer, registry: RegistryServer
) -> None:
    known = register(registry)
    of_proto = registry.register("proto-value", PROTO, "PROTOBUF")
    of_json = registry.register("json-value", JSON_SCHEMA, "JSON")
    later = of_json + 1
    values = [
        avro(known, "a"), protobuf(of_proto), framed(of_json, plain("j")), plain("p"), avro(later, "l"),
        avro(known, "x")[:-3], framed(of_json, b"{}"),
    ]  # fmt: skip
    for value in values:
        producer.send_raw(value, b"key")
    producer.flush()
    there = reading_it(platform, registry)
    there.ingest()
    read = [("u1", "view", "/a"), ("u2", "click", "/b"), ("u3", "view", "/c"), ("u3", "view", "/c")]
    assert events(there) == read
    assert {bytes(row["raw"]) for row in there.read(EVENTS).collect()} == set(values[:4])
    reasons = rejected(there)
    assert [reason for reason, _ in reasons] == ["missing_field", "undecodable", "undecodable"]
    assert [f"schema {later} is not in the registry" in detail for _, detail in reasons] == [False, False, True]
    assert f"does not fit its schema {known}" in reasons[1][1]
    assert difference(there) == 0

    before = content(there, EVENTS)
    done = rebuild_events.rebuild(there.spark, there.lake, there.settings)
    assert (done.validated, done.to_events, done.to_rejected, done.changed) == (7, 0, 0, 0)
    assert content(there, EVENTS) == before

    again = {**AVRO, "doc": "a later version"}
    assert registry.register("later-value", json.dumps(again), references=[REFERENCE]) == later
    # To the workers, which have just been told that there is no such schema, this is another registry.
    anew = reading_it(platform, registry, away_seconds=61)
    moved = replay_rejected.replay(anew.spark, anew.lake, anew.settings, "undecodable", None)
    assert (moved.validated, moved.moved) == (2, 1)
    assert events(anew) == [("u1", "view", "/a"), *read]
    assert difference(anew) == 0


def test_a_registry_that_is_away_is_waited_for_and_then_the_stream_says_so_and_loses_nothing(
    platform: Platform, producer: EventProducer, registry: RegistryServer
) -> None:
    known = register(registry)
    for number in range(20):
        producer.send_raw(avro(known, f"a{number}"), b"key")
    producer.flush()
    registry.stop()
    impatient = reading_it(platform, registry, away_seconds=1)
    query = ingest_events.start(impatient.spark, impatient.lake, impatient.settings, once=True)
    with pytest.raises(BehaviorError, match=r"The schema registry at .* does not answer .* Nothing is lost"):
        queries.finish(query, impatient.settings)
    assert platform.read(EVENTS).count() == 0

    back = threading.Timer(5, registry.start)
    back.start()
    patient = reading_it(platform, registry)
    patient.ingest()
    back.join()
    assert platform.read(EVENTS).count() == 20
    assert difference(patient) == 0


def test_who_asks_is_told_what_the_registry_says(registry: RegistryServer) -> None:
    known = register(registry)
    of_this = SchemaRegistry(registry.url, away_seconds=5)
    assert of_this(b"{}") is None
    assert isinstance(of_this(avro(known, "a")), bytes)
    missing = of_this(avro(known + 50, "a"))
    assert missing == Rejection("undecodable", None, f"schema {known + 50} is not in the registry")
    registry.stop()
    assert isinstance(of_this(avro(known, "a")), bytes), "what a schema is never changes"
    with pytest.raises(EnvironmentProblem, match="does not answer"):
        SchemaRegistry(registry.url, away_seconds=0.5)(avro(known, "a"))
