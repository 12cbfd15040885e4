"""Each class of input that collectors meet, and what is said of it; shared by ingest's judge and the collector's."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from typing import Any

from features.events import JudgingRules

RULES = JudgingRules(
    max_bytes=4096,
    max_depth=8,
    oldest=datetime(2000, 1, 1, tzinfo=UTC),
    max_future_seconds=3600,
    max_late_seconds=9_450 * 86_400,  # all cases arrive at noon of 1 January 2026
)
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


REJECTED: dict[str, tuple[bytes | None, str]] = {
    "a tombstone": (None, "tombstone"),
    "no bytes": (b"", "empty"),
    "blanks": (b" \n\t ", "empty"),
    "an empty object": (b"{}", "missing_field"),
    "no user": (without("user_id"), "missing_field"),
    "a null page": (event(page=None), "missing_field"),
    "a key in other case": (event().replace(b"user_id", b"User_Id"), "missing_field"),
    "plain text": (b"hello", "not_json"),
    "a cut object": (event()[:-5], "not_json"),
    "single quotes": (event().replace(b'"', b"'"), "not_json"),
    "a byte-order mark": (b"\xef\xbb\xbf" + event(), "not_json"),
    "gzip": (gzip.compress(event()), "not_json"),
    "UTF-16": (event().decode().encode("utf-16"), "not_json"),
    "a lone byte of another encoding": (event().replace(b"homepage", b"caf\xe9"), "not_utf8"),
    "half a surrogate pair": (event().replace(b"homepage", rb"\ud83d"), "not_utf8"),
    "null": (b"null", "not_an_object"),
    "a number": (b"42", "not_an_object"),
    "an array of events": (b"[" + event() + b"]", "not_an_object"),
    "a bracket that closes nothing": (b"]", "not_json"),
    "brackets the wrong way round": (b"],[", "not_json"),
    "two objects": (event() + event(), "trailing_data"),
    "two lines": (event() + b"\n" + event(), "trailing_data"),
    "garbage behind": (event() + b" x", "trailing_data"),
    "a key twice": (b'{"user_id": "9", ' + event()[1:], "duplicate_key"),
    "a number for the user": (event(user_id=5), "wrong_type"),
    "an object for the user": (event(user_id={}), "wrong_type"),
    "an array for the page": (event(page=[]), "wrong_type"),
    "a boolean for the action": (event(action=True), "wrong_type"),
    "a number for the event id": (event(event_id=7), "wrong_type"),
    "text for the properties": (event(properties="x"), "wrong_type"),
    "NaN": (event()[:-1] + b', "x": NaN}', "wrong_type"),
    "a number beyond doubles": (event()[:-1] + b', "x": 1e400}', "wrong_type"),
    "an empty user": (event(user_id=""), "empty_user_id"),
    "a blank user": (event(user_id=" \u00a0"), "empty_user_id"),
    "an empty page": (event(page=""), "empty_field"),
    "epoch milliseconds as text": (at("1728129600000"), "bad_timestamp"),
    "30 February": (at("2024-02-30T12:00:00Z"), "bad_timestamp"),
    "second 60": (at("2024-10-05T12:00:60Z"), "bad_timestamp"),
    "hour 24": (at("2024-10-05T24:00:00Z"), "bad_timestamp"),
    "now": (at("now"), "bad_timestamp"),
    "an empty time": (at(""), "bad_timestamp"),
    "a week date": (at("2024-W40-6T12:00:00Z"), "bad_timestamp"),
    "a time without offset": (at("2024-10-05T12:00:00"), "naive_timestamp"),
    "the year 1": (at("0001-01-01T00:00:00Z"), "timestamp_out_of_range"),
    "the year 9999": (at("9999-12-31T23:59:59Z"), "timestamp_out_of_range"),
    "a quarter of a century late": (at("2000-02-17T11:59:59Z"), "arrived_too_late"),
    "two hours ahead": (at("2026-01-01T14:00:00Z"), "timestamp_out_of_range"),
    "a raw control character": (event().replace(b"homepage", b"home\x01page"), "control_character"),
    "an escaped NUL": (event().replace(b"homepage", rb"home\u0000page"), "control_character"),
    "too deep": (nested(30), "too_deep"),
    "too large": (event(page="x" * 5000), "too_large"),
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
