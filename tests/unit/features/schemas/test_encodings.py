"""Avro, Protobuf and JSON behind a registry's frame become JSON, or a ValueError says why not."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from io import BytesIO
from typing import Any

import fastavro
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from features.schemas.encodings import Reader, Schema, reader_of

FRAME = b"\0\0\0\0\7"
AVRO: dict[str, Any] = {
    "type": "record",
    "name": "Event",
    "fields": [
        {"name": "user_id", "type": "string"},
        {"name": "timestamp", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "day", "type": ["null", {"type": "int", "logicalType": "date"}]},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 2}},
        {"name": "blob", "type": "bytes"},
        {"name": "list", "type": {"type": "array", "items": "long"}},
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["a", "b"]}},
    ],
}
PROTO = """
syntax = "proto3";
package site;
import "google/protobuf/timestamp.proto";
import "common/place.proto";
message Session { string id = 1; }
message Event {
  string user_id = 1;
  google.protobuf.Timestamp timestamp = 2;
  Place page = 3;
  int64 count = 4;
  message Inner { string note = 1; }
}
"""
WELL_KNOWN = """
syntax = "proto3";
import "google/protobuf/timestamp.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/field_mask.proto";
message All {
  google.protobuf.Timestamp at = 1;
  google.protobuf.Value value = 2;
  google.protobuf.FieldMask mask = 3;
}
"""
RECURSIVE = '{"type": "record", "name": "N", "fields": [{"name": "next", "type": ["null", "N"]}]}'
PLACE = 'syntax = "proto3"; package site; message Place { string path = 1; }'


def avro(schema: Any, record: Any) -> bytes:
    out = BytesIO()
    fastavro.schemaless_writer(out, schema, record)
    return FRAME + out.getvalue()


def text_field(number: int, value: bytes) -> bytes:
    """A field of Protobuf that has a length before it; both below 128."""
    return bytes([number << 3 | 2, len(value)]) + value


def test_avro_is_json_with_times_in_utc() -> None:
    read = reader_of(Schema("AVRO", json.dumps(AVRO)))
    record = {
        "user_id": "Łódź", "timestamp": datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC), "day": date(2026, 3, 1),
        "price": Decimal("19.90"), "blob": b"\xff\0", "list": [1, 2**60], "kind": "b",
    }  # fmt: skip
    assert json.loads(read(avro(AVRO, record))) == {
        "user_id": "Łódź", "timestamp": "2026-03-01T12:00:00.250000Z", "day": "2026-03-01", "price": "19.90",
        "blob": "/wA=", "list": [1, 2**60], "kind": "b",
    }  # fmt: skip


def test_avro_finds_the_schemas_that_it_refers_to() -> None:
    place = {"type": "record", "name": "site.Place", "fields": [{"name": "path", "type": "string"}]}
    event = {"type": "record", "name": "site.Event", "fields": [{"name": "page", "type": "site.Place"}]}
    read = reader_of(Schema("AVRO", json.dumps(event), {"site.Place": json.dumps(place)}))
    assert read(FRAME + b"\x04/a") == b'{"page": {"path": "/a"}}'
    with pytest.raises(ValueError, match=r"type site\.Place is not known"):
        reader_of(Schema("AVRO", json.dumps(event)))


def test_protobuf_is_json_by_the_message_that_is_named_before_it() -> None:
    read = reader_of(Schema("PROTOBUF", PROTO, {"common/place.proto": PLACE}))
    moment = b"\x08\xc0\xd4\x90\xcd\x06"
    event = text_field(1, b"u1") + text_field(2, moment) + text_field(3, text_field(1, b"/a")) + b"\x20\x05"
    found = json.loads(read(FRAME + b"\x02\x02" + event))
    assert found == {"user_id": "u1", "timestamp": "2026-03-01T12:00:00Z", "page": {"path": "/a"}, "count": "5"}
    assert read(FRAME + b"\x04\x02\x00" + text_field(1, b"n")) == b'{"note": "n"}'
    assert read(FRAME + b"\x00" + text_field(1, b"s")) == b'{"id": "s"}', "0 is the first message"


@pytest.mark.parametrize(
    ("schema", "body"),
    [
        (Schema("AVRO", '"string"'), b""),
        (Schema("AVRO", '"string"'), b"\x04a"),
        (Schema("AVRO", '"string"'), b"\x02ab"),
        (Schema("AVRO", '"string"'), b"\x02\xff"),
        (Schema("AVRO", '["null", "string"]'), b"\x09"),
        (Schema("AVRO", '{"type": "array", "items": "string"}'), b"\xff" * 9),
        (Schema("PROTOBUF", PLACE), b""),
        (Schema("PROTOBUF", PLACE), b"\x02\x02"),
        (Schema("PROTOBUF", PLACE), b"\x01\x00"),
        (Schema("PROTOBUF", PLACE), b"\xff" * 20),
        (Schema("PROTOBUF", PLACE), b"\x00\x0a\x7fa"),
    ],
)
def test_values_that_do_not_fit_are_refused(schema: Schema, body: bytes) -> None:
    read = reader_of(schema)
    with pytest.raises(ValueError):  # noqa: PT011 - each library has words of its own
        read(FRAME + body)


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (Schema("XML", ""), "schemas of kind XML are not known; those of AVRO, PROTOBUF, JSON are"),
        (Schema("AVRO", "no"), "the schema is no Avro schema: Expecting value"),
        (Schema("AVRO", "{}"), "the schema is no Avro schema"),
        (Schema("PROTOBUF", "nonsense"), "the schema is no Protobuf schema: behavior_main.proto:1:1"),
        (Schema("PROTOBUF", PROTO), "the schema is no Protobuf schema: common/place.proto: File not found"),
        (Schema("PROTOBUF", PLACE, {"../up.proto": PLACE}), "no name of a file"),
        (Schema("PROTOBUF", PLACE, {"grpc_tools/protoc.py": "raise SystemExit(9)"}), "no name of a file"),
        (Schema("AVRO", RECURSIVE), "type N holds itself"),
        (Schema("AVRO", '{"type": "array", "items": "null"}'), "a list of what takes no bytes"),
        (
            Schema("AVRO", '{"type": "array", "items": {"type": "record", "name": "E", "fields": []}}'),
            "a list of what takes no bytes",
        ),
    ],
)
def test_a_schema_that_is_none_is_refused_with_why(schema: Schema, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        reader_of(schema)


ALL = [
    Schema("AVRO", json.dumps(AVRO)),
    Schema("AVRO", '["null", "double", {"type": "map", "values": ["string", "bytes"]}]'),
    Schema("PROTOBUF", PROTO, {"common/place.proto": PLACE}),
    Schema("PROTOBUF", WELL_KNOWN),
    Schema("JSON", "{}"),
]
READERS = [reader_of(schema) for schema in ALL]


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(READERS), st.binary(max_size=40))
@example(READERS[3], b"\0" + text_field(1, b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f"))
@example(READERS[3], b"\0" + text_field(2, b"\x11\0\0\0\0\0\0\xf8\x7f"))
@example(READERS[3], b"\0" + text_field(3, text_field(1, b"a_B")))
def test_whatever_the_bytes_they_are_read_or_refused_in_words_that_stay_the_same(read: Reader, body: bytes) -> None:
    def said() -> bytes | str:
        try:
            return read(FRAME + body)
        except ValueError as error:
            return str(error)

    first = said()
    assert first == said()
    assert "0x" not in str(first) or isinstance(first, bytes)


def test_a_time_of_a_clock_that_nobody_knows_gets_no_zone() -> None:
    read = reader_of(Schema("AVRO", '{"type": "long", "logicalType": "local-timestamp-millis"}'))
    assert read(FRAME + b"\x00") == b'"1970-01-01T00:00:00"'


def test_of_a_json_schema_the_frame_is_taken_off() -> None:
    assert reader_of(Schema("JSON", "{}"))(FRAME + b'{"user_id": 5}') == b'{"user_id": 5}'
