"""Each class of input that collectors meet, and what is said of it."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from typing import Any

from features.events import ValidationRules, micros_of

RULES = ValidationRules(
    max_bytes=4096,
    max_depth=8,
    oldest=datetime(2000, 1, 1, tzinfo=UTC),
    max_future_seconds=3600,
    max_late_seconds=9_450 * 86_400,  # all cases arrive at noon of 1 January 2026
)
NOON = micros_of(datetime(2026, 1, 1, 12, tzinfo=UTC))
GOOD = {"user_id": "123", "action": "click", "page": "homepage", "timestamp": "2024-10-05T12:00:00Z"}


def utc(*parts: int) -> datetime:
    """A moment as Spark hands it to Python: in the machine's own zone, without saying so."""
    return datetime(*parts, tzinfo=UTC).astimezone().replace(tzinfo=None)  # type: ignore[misc,arg-type]


def event(**changes: Any) -> bytes:
    return json.dumps(GOOD | changes, ensure_ascii=False).encode()


def without(name: str) -> bytes:
    return json.dumps({key: value for key, value in GOOD.items() if key != name}).encode()


def at(timestamp: object) -> bytes:
    return event(timestamp=timestamp)


def nested(levels: int) -> bytes:
    return event(extra=json.loads("[" * levels + "]" * levels))


REJECTED: dict[str, tuple[bytes | None, str, str | None, str | None]] = {
    "a tombstone": (None, "tombstone", None, None),
    "no bytes": (b"", "empty", None, "0 bytes"),
    "blanks": (b" \n\t ", "empty", None, "4 bytes"),
    "an empty object": (b"{}", "missing_field", "user_id", "not there"),
    "no user": (without("user_id"), "missing_field", "user_id", "not there"),
    "a null page": (event(page=None), "missing_field", "page", "is null"),
    "a key in other case": (
        event().replace(b"user_id", b"User_Id"),
        "missing_field",
        "user_id",
        'not there, but "User_Id" is',
    ),
    "plain text": (b"hello", "not_json", None, "starts with: hello"),
    "a cut object": (event()[:-5], "not_json", None, "cut off: no } at the end"),
    "single quotes": (
        event().replace(b'"', b"'"),
        "not_json",
        None,
        "starts with: {'user_id': '123', 'action': 'click', 'page': 'homepage', 't",
    ),
    "a byte-order mark": (b"\xef\xbb\xbf" + event(), "not_json", None, "starts with a byte-order mark"),
    "gzip": (gzip.compress(event()), "not_json", None, "gzip bytes: send them unpacked, or name gzip in ingest.unpack"),
    "UTF-16": (event().decode().encode("utf-16"), "not_json", None, "UTF-16 or UTF-32 text: send UTF-8"),
    "a lone byte of another encoding": (
        event().replace(b"homepage", b"caf\xe9"),
        "not_utf8",
        None,
        "bytes that are no UTF-8",
    ),
    "half a surrogate pair": (
        event().replace(b"homepage", rb"\ud83d"),
        "not_utf8",
        None,
        "an escape of half a surrogate pair",
    ),
    "null": (b"null", "not_an_object", None, "found null"),
    "a number": (b"42", "not_an_object", None, "found a number"),
    "a registry's frame": (
        b"\0\0\0\0\x07" + event(),
        "not_json",
        None,
        (
            "a schema registry's 5-byte frame (schema id 7) is before the value: send plain JSON, "
            "or name the registry in ingest.schema_registry_url"
        ),
    ),
    "a registry's frame before what is no text": (
        b"\0\0\x01\0\x02\xff\x80",
        "not_json",
        None,
        (
            "a schema registry's 5-byte frame (schema id 65538) is before the value: send plain JSON, "
            "or name the registry in ingest.schema_registry_url"
        ),
    ),
    "UTF-32 with its first byte 0": (
        event().decode().encode("utf-32-be"),
        "not_json",
        None,
        "has NUL bytes, as UTF-16 or UTF-32 has: send UTF-8",
    ),
    "a log's line": (
        b'203.0.113.5 - - [15/Oct/2025:12:00:00 +0000] "-" 408 0',
        "not_json",
        None,
        "a line of a server's log: replay_file makes events of them",
    ),
    "a log's line without a request": (
        b'{"user_id": "u1", "no_request": "no request: -", "line": "u1 - - \\"-\\" 408"}',
        "no_request",
        None,
        "no request: -",
    ),
    "an array": (b"[1, 2]", "not_an_object", None, "found an array"),
    "a bracket that closes nothing": (b"]", "not_json", None, "starts with: ]"),
    "brackets the wrong way round": (b"],[", "not_json", None, "starts with: ],["),
    "two objects": (event() + event(), "trailing_data", None, "more follows the object"),
    "two lines": (event() + b"\n" + event(), "trailing_data", None, "more follows the object"),
    "garbage behind": (event() + b" x", "trailing_data", None, "more follows the object"),
    "a key twice": (b'{"user_id": "9", ' + event()[1:], "duplicate_key", "user_id", "more than one value"),
    "a number for the user": (event(user_id=5), "wrong_type", "user_id", "found a number: 5; needed a string"),
    "an object for the user": (event(user_id={}), "wrong_type", "user_id", "found an object: {}; needed a string"),
    "an array for the page": (event(page=[]), "wrong_type", "page", "found an array: []; needed a string"),
    "a boolean for the action": (event(action=True), "wrong_type", "action", "found a boolean: true; needed a string"),
    "a number for the event id": (event(event_id=7), "wrong_type", "event_id", "found a number: 7; needed a string"),
    "text for the properties": (
        event(properties="x"),
        "wrong_type",
        "properties",
        'found a string: "x"; needed an object',
    ),
    "NaN": (event()[:-1] + b', "x": NaN}', "wrong_type", "x", "NaN or Infinity, which is no JSON number"),
    "a number beyond doubles": (event()[:-1] + b', "x": 1e400}', "wrong_type", "x", "a number beyond any range"),
    "an empty user": (event(user_id=""), "empty_user_id", "user_id", "blank"),
    "a blank user": (event(user_id=" \u00a0"), "empty_user_id", "user_id", "blank"),
    "an empty page": (event(page=""), "empty_field", "page", "blank"),
    "epoch milliseconds as text": (
        at("1728129600000"),
        "bad_timestamp",
        "timestamp",
        'found "1728129600000"; needed ISO-8601 text with an offset',
    ),
    "30 February": (
        at("2024-02-30T12:00:00Z"),
        "bad_timestamp",
        "timestamp",
        'found "2024-02-30T12:00:00Z"; needed ISO-8601 text with an offset',
    ),
    "second 60": (
        at("2024-10-05T12:00:60Z"),
        "bad_timestamp",
        "timestamp",
        'found "2024-10-05T12:00:60Z"; needed ISO-8601 text with an offset',
    ),
    "hour 24": (
        at("2024-10-05T24:00:00Z"),
        "bad_timestamp",
        "timestamp",
        'found "2024-10-05T24:00:00Z"; needed ISO-8601 text with an offset',
    ),
    "now": (at("now"), "bad_timestamp", "timestamp", 'found "now"; needed ISO-8601 text with an offset'),
    "an empty time": (at(""), "bad_timestamp", "timestamp", 'found ""; needed ISO-8601 text with an offset'),
    "a week date": (
        at("2024-W40-6T12:00:00Z"),
        "bad_timestamp",
        "timestamp",
        'found "2024-W40-6T12:00:00Z"; needed ISO-8601 text with an offset',
    ),
    "a time without offset": (
        at("2024-10-05T12:00:00"),
        "naive_timestamp",
        "timestamp",
        'found "2024-10-05T12:00:00"; its offset is missing, such as Z or +02:00',
    ),
    "the year 1": (
        at("0001-01-01T00:00:00Z"),
        "timestamp_out_of_range",
        "timestamp",
        'found "0001-01-01T00:00:00Z"; taken from 2000-01-01T00:00:00+00:00 to 3600 s from now',
    ),
    "the year 9999": (
        at("9999-12-31T23:59:59Z"),
        "timestamp_out_of_range",
        "timestamp",
        'found "9999-12-31T23:59:59Z"; taken from 2000-01-01T00:00:00+00:00 to 3600 s from now',
    ),
    "a quarter of a century late": (
        at("2000-02-17T11:59:59Z"),
        "arrived_too_late",
        "timestamp",
        'found "2000-02-17T11:59:59Z"; taken up to 816480000 s after it was',
    ),
    "two hours ahead": (
        at("2026-01-01T14:00:00Z"),
        "timestamp_out_of_range",
        "timestamp",
        'found "2026-01-01T14:00:00Z"; taken from 2000-01-01T00:00:00+00:00 to 3600 s from now',
    ),
    "a raw control character": (
        event().replace(b"homepage", b"home\x01page"),
        "control_character",
        None,
        "a raw one within a string",
    ),
    "an escaped NUL": (event().replace(b"homepage", rb"home\u0000page"), "control_character", None, "an escaped NUL"),
    "too deep": (nested(30), "too_deep", None, "nested deeper than 8 levels"),
    "too large": (event(page="x" * 5000), "too_large", None, "5086 bytes; the limit is 4096"),
}

ACCEPTED: dict[str, tuple[bytes, dict[str, Any]]] = {
    "the four fields": (event(), {"user_id": "123", "action": "click", "page": "homepage"}),
    "an action in other case": (event(action="Click"), {"action": "click"}),
    "an unknown action": (event(action="Wave"), {"action": "Wave"}),
    "markup, kept as text": (event(page="<script>alert(1)</script>"), {"page": "<script>alert(1)</script>"}),
    "characters of four bytes": (event(page="\U0001f600e\u0301"), {"page": "\U0001f600e\u0301"}),
    "escapes": (event(page="a").replace(b'"a"', rb'"\u0061\n\"\\"'), {"page": 'a\n"\\'}),
    "an optional null": (event(session_id=None), {"session_id": None}),
    "an event id": (event(event_id="e-1"), {"event_id": "e-1"}),
    "further fields": (event(price=19.5, tags=["a"]), {"properties": {"price": "19.5", "tags": '["a"]'}}),
    "properties": (event(properties={"a": "b"}), {"properties": {"a": "b"}}),
    "an offset": (at("2024-10-05T17:30:00+05:30"), {"timestamp": utc(2024, 10, 5, 12)}),
    "nanoseconds, cut": (at("2024-10-05T12:00:00.123456789Z"), {"timestamp": utc(2024, 10, 5, 12, 0, 0, 123456)}),
    "within the hour ahead": (at("2026-01-01T12:59:00Z"), {}),
}
