"""Validating one record's value: the strict reading behind every verdict, in plain Python.

:mod:`features.events` says what an event is. Ingest hands over the records that its compiled pass
(:mod:`features.plain_json`) leaves, the collector every event it is sent: so both give the same answer.

Two of the reasons need the tables, and are found by ingest: ``duplicate_event_id`` and ``erased_user``.
"""

from __future__ import annotations

import math
import re
import unicodedata
from calendar import monthrange
from collections.abc import Callable
from datetime import date
from typing import Any, NamedTuple

from features.events import EPOCH, FIELDS, IDS, NO_REQUEST, REQUIRED, TIMES, ValidationRules
from features.strict_json import (
    BLANKS,
    LENIENT,
    SPACE,
    STRING,
    Number,
    Twice,
    as_written,
    first_value,
    skipped,
    value_end,
)

MAX_NUMBER = 1_000
MAX_NAME = 50_000
CLIP = 60
"""Characters of what was found that a detail quotes."""
BRACE = 0x7B
FRAME = 5
"""Bytes that the serializers of a schema registry put before a value."""
GREGORIAN_CYCLE = 400, date(401, 1, 1).toordinal() - 1
"""Years after which the calendar repeats, and their days."""


class Event(NamedTuple):
    """A record that is an event; times are in microseconds since 1970. ``action`` is as sent."""

    user_id: str
    action: str
    page: str
    timestamp: int
    event_id: str | None
    session_id: str | None
    sent_at: int | None
    properties: dict[str, str | None] | None


class Rejection(NamedTuple):
    """Why a record is no event; ``reason`` is a name of :data:`features.events.REASONS`."""

    reason: str
    field: str | None = None
    detail: str | None = None


def validate_value(value: bytes | None, rules: ValidationRules, now: int, arrived: int | None) -> Event | Rejection:
    """The event in one record's value, or why there is none.

    Args:
        value: the bytes; None of a tombstone.
        rules: the limits.
        now: microseconds since 1970 from which the future counts: when the record was read.
        arrived: microseconds since 1970 when Kafka received the record; None where it does not say.
    """
    if value is None:
        return Rejection("tombstone")
    if (rejection := _of_bytes(value, rules)) is not None:
        return rejection
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return Rejection("not_utf8", None, "bytes that are no UTF-8")
    record = _record_in(text, len(value), rules)
    if isinstance(record, Rejection):
        return record
    rejection = _of_replay(record) or _of_fields(text, record) or _of_blanks(record)
    if rejection is not None:
        return rejection
    times = {name: micros(record[name]) for name in TIMES if record.get(name) is not None}
    rejection = _of_times(record, times, rules, now, arrived)
    return rejection if rejection is not None else _event(text, record, times)


# --- bytes and text ----------------------------------------------------------------------------------------------

_EMPTY = re.compile(b"[ \t\n\r]*+(?:\xc2\x85|\xe2\x80[\xa8\xa9])?\\Z")
_PACKED = {
    b"\x1f\x8b": "gzip bytes: send them unpacked, or name gzip in ingest.unpack",
    b"\x28\xb5": "zstd bytes: send them unpacked, or name zstd in ingest.unpack",
    b"\x04\x22": "lz4 bytes: send them unpacked, or name lz4 in ingest.unpack",
    b"\xff\xfe": "UTF-16 or UTF-32 text: send UTF-8",
    b"\xfe\xff": "UTF-16 text: send UTF-8",
}
_LONG_NUMBER = re.compile(
    rf'(?:[^"0-9-]++|{STRING}|-(?![0-9])|-?[0-9][0-9.eE+-]{{0,{MAX_NUMBER - 1}}}+(?![0-9.eE+-]))*+-?[0-9]'
)
_NAME = re.compile(rf'"((?:[^"\\]++|\\[\s\S])*+)(?:"({SPACE}:)?)?')
_HALF_A_PAIR = re.compile(
    r"(?:[^\\]++|\\[^u]|\\u(?![dD][89a-fA-F][0-9a-fA-F]{2})"
    r"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})*+\\u[dD]"
)
_ESCAPED_NUL = re.compile(r"(?:[^\\]++|\\[^u]|\\u(?!0000))*+\\u0000")
_CONTROL_IN_STRING = re.compile(r'(?:[^"]++|"(?:[^"\\\x00-\x1f]++|\\[\s\S])*+")*+"')
_KEY_OF_NO_NUMBER = re.compile(
    rf'(?:[^"]++|{STRING}(?!{SPACE}:{SPACE}[-+]?(?:NaN|INF|Infinity)))*+"((?:[^"\\]++|\\[\s\S])*+)"'
)
_OBJECT_START = re.compile(rf"{SPACE}\{{")
_OBJECT_END = re.compile(rf"\}}{SPACE}[\x85\u2028\u2029]?\Z")
_UTF_32 = re.compile(b'\0\0\0\\{\0\0\0[" \t\r\n}]')
"""The begin of a JSON object, its most significant bytes first."""
_LOG_LINE = re.compile(r"\[[0-9]{1,2}/[A-Z][a-z]{2}/[0-9]{4}:[0-9]{2}:[0-9]{2}:[0-9]{2}")
_BRACKET = re.compile(rf"{STRING}|([\[{{])|[\]}}]")


def is_packed(value: bytes) -> bool:
    """Whether the bytes start as packed ones or UTF-16 do: then they are no text to be cut into events."""
    return value[:2] in _PACKED


def _of_bytes(value: bytes, rules: ValidationRules) -> Rejection | None:
    if len(value) > rules.max_bytes:
        return Rejection("too_large", None, f"{len(value)} bytes; the limit is {rules.max_bytes}")
    if _EMPTY.match(value):
        return Rejection("empty", None, f"{len(value)} bytes")
    packed = _PACKED.get(value[:2]) or _framed(value)
    return Rejection("not_json", None, packed) if packed else None


def schema_id_in(value: bytes) -> int | None:
    """The id of the schema that a registry's serializer put before a value: a NUL, and four bytes.

    UTF-16 and UTF-32 text that begins with a NUL has its first character, a brace, there, and more of them behind it.
    """
    if value[:1] != b"\0" or len(value) <= FRAME or value[1] == BRACE or _UTF_32.match(value):
        return None
    return int.from_bytes(value[1:FRAME], "big")


def _framed(value: bytes) -> str | None:
    schema = schema_id_in(value)
    if schema is None:
        return None
    return (
        f"a schema registry's {FRAME}-byte frame (schema id {schema}) is before the value: send plain JSON, "
        "or name the registry in ingest.schema_registry_url"
    )


def _record_in(text: str, size: int, rules: ValidationRules) -> dict[str, Any] | Rejection:
    """The object, whose text is sound JSON and has no key twice; or what is wrong with the text."""
    if (size > MAX_NUMBER and _LONG_NUMBER.match(text)) or (size > MAX_NAME and _has_long_name(text)):
        return Rejection("too_large", None, f"a number of over {MAX_NUMBER} digits or an endless name")
    if "\\u" in text and _HALF_A_PAIR.match(text):
        return Rejection("not_utf8", None, "an escape of half a surrogate pair")
    is_object = _OBJECT_START.match(text)
    try:
        record, end = first_value(text)
    except ValueError:
        return _unreadable_object(text) if is_object else _not_json(text)
    has_more = bool(text[end:].strip(BLANKS))
    if has_more and not is_object:
        return _not_json(text)
    if _is_deeper(text[:end], rules.max_depth):
        return Rejection("too_deep", None, f"nested deeper than {rules.max_depth} levels")
    if not is_object:
        return Rejection("not_an_object", None, f"found {_kind(text.lstrip(BLANKS))}")
    if has_more:
        return Rejection("trailing_data", None, "more follows the object")
    if "\\u0000" in text and _ESCAPED_NUL.match(text):
        return Rejection("control_character", None, "an escaped NUL")
    assert isinstance(record, dict)
    if isinstance(record, Twice):
        return Rejection("duplicate_key", record.again[:CLIP], "more than one value")
    return record


def _has_long_name(text: str) -> bool:
    """Whether a key has MAX_NAME characters or more, an escape's backslash and next character counted as one."""
    names = (match[1] for match in _NAME.finditer(text) if match[2] and len(match[1]) >= MAX_NAME)
    return any(len(re.sub(r"\\[\s\S]", "x", name)) >= MAX_NAME for name in names)


def _is_deeper(text: str, most: int) -> bool:
    """Whether sound JSON is nested over more than ``most`` levels."""
    if text.count("[") + text.count("{") <= most:
        return False
    depth = 0
    for match in _BRACKET.finditer(text):
        if match[1]:
            depth += 1
            if depth > most:
                return True
        elif match[0] in "]}":
            depth -= 1
    return False


def _unreadable_object(text: str) -> Rejection:
    """Tells raw control characters, and NaN or Infinity, from what is no JSON at all."""
    begin = skipped(text, 0)
    if value_end(text, begin, LENIENT) != len(text.rstrip(BLANKS)):
        return _not_json(text)
    if _CONTROL_IN_STRING.match(text):
        return Rejection("control_character", None, "a raw one within a string")
    key = _KEY_OF_NO_NUMBER.match(text)
    name = key[1][:CLIP] if key and key[1] else None
    return Rejection("wrong_type", name, "NaN or Infinity, which is no JSON number")


def _not_json(text: str) -> Rejection:
    if text.startswith("\ufeff"):
        return Rejection("not_json", None, "starts with a byte-order mark")
    if "\0" in text:
        return Rejection("not_json", None, "has NUL bytes, as UTF-16 or UTF-32 has: send UTF-8")
    if _OBJECT_START.match(text) and not _OBJECT_END.search(text):
        return Rejection("not_json", None, "cut off: no } at the end")
    if _LOG_LINE.search(text):  # it is not quoted: it has somebody's address
        return Rejection("not_json", None, "a line of a server's log: replay_file makes events of them")
    return Rejection("not_json", None, f"starts with: {text[:CLIP]}")


# --- fields ------------------------------------------------------------------------------------------------------

_SUSPECTED = re.compile(r"[0-9][eE]\+?[0-9]{2}|(?<![0-9])[0-9]{300}")  # digits are counted once, from their first


def _of_fields(text: str, record: dict[str, Any]) -> Rejection | None:
    """Equal keys further in, numbers beyond doubles, missing fields and wrong types."""
    for name, value in record.items():
        if isinstance(value, dict | list) and _holds(value, lambda part: isinstance(part, Twice)):
            return Rejection("duplicate_key", name[:CLIP], "a key twice within it")
    if _SUSPECTED.search(text):
        for name, value in record.items():
            if _holds(value, lambda part: isinstance(part, Number) and math.isinf(float(part))):
                return Rejection("wrong_type", name[:CLIP], "a number beyond any range")
    for name in REQUIRED:
        if record.get(name) is None:
            return Rejection("missing_field", name, _how_missing(name, record))
    for name in FIELDS:
        if not _is_right_kind(name, record.get(name)):
            needed = "an object" if name == "properties" else "a string"
            written = as_written(text)[name]
            return Rejection("wrong_type", name, f"found {_kind(written)}: {written[:CLIP]}; needed {needed}")
    return None


def _of_replay(record: dict[str, Any]) -> Rejection | None:
    """What a replay says of a log line of which it could make no event."""
    why = record.get(NO_REQUEST)
    if not isinstance(why, str) or "action" in record or "page" in record:
        return None
    return Rejection(NO_REQUEST, None, why[: 2 * CLIP])


def _holds(value: object, sought: Callable[[object], bool]) -> bool:
    """Whether the value, or one within it at any depth, is one that is sought."""
    if sought(value):
        return True
    within = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(_holds(part, sought) for part in within)


def _is_right_kind(name: str, value: object) -> bool:
    """A number for a time is left to the reading of times."""
    if value is None:
        return True
    if name == "properties":
        return isinstance(value, dict)
    return isinstance(value, str) and (name in TIMES or not isinstance(value, Number))


def _how_missing(name: str, record: dict[str, Any]) -> str:
    if name in record:
        return "is null"
    bare = name.replace("_", "")
    for key in record:
        if key not in FIELDS and _is_close(re.sub(r"[^a-z0-9]", "", key.lower()), bare):
            return f'not there, but "{key[:CLIP]}" is'
    return "not there"


def _is_close(first: str, second: str) -> bool:
    """Whether one change of a character, or none, makes one of the other."""
    short, long = sorted((first, second), key=len)
    if len(long) - len(short) > 1:
        return False
    at = next((i for i, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    return short[at + (len(short) == len(long)) :] == long[at + 1 :]


def _kind(written: str) -> str:
    words = {'"': "a string", "{": "an object", "[": "an array", "t": "a boolean", "f": "a boolean", "n": "null"}
    return words.get(written[:1], "a number")


# --- values ------------------------------------------------------------------------------------------------------

_DATE_AND_TIME = r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?"
_OFFSET = r"(?:[Zz]|([+-])(\d\d)(?::?(\d\d))?)"
_TIME = re.compile(rf"{_DATE_AND_TIME}({_OFFSET})?(?:\r?\n|\r)?\Z", re.ASCII)
_HINTS = {
    "bad_timestamp": "needed ISO-8601 text with an offset",
    "naive_timestamp": "its offset is missing, such as Z or +02:00",
    "timestamp_out_of_range": "taken from {oldest} to {max_future_seconds} s from now",
    "arrived_too_late": "taken up to {max_late_seconds} s after it was",
}


def _of_blanks(record: dict[str, Any]) -> Rejection | None:
    if is_blank(record["user_id"]):
        return Rejection("empty_user_id", "user_id", "blank")
    for name in ("action", "page"):
        if is_blank(record[name]):
            return Rejection("empty_field", name, "blank")
    return None


def is_blank(text: str) -> bool:
    """Whether nothing of it can be seen: blanks, control and format characters."""
    categories = map(unicodedata.category, text)
    return all(category[0] == "Z" or category in ("Cc", "Cf") for category in categories)


def _of_times(
    record: dict[str, Any], times: dict[str, int | None], rules: ValidationRules, now: int, arrived: int | None
) -> Rejection | None:
    reasons = {}
    for name, moment in times.items():
        if moment is None:
            reasons[name] = "naive_timestamp" if _is_naive(record[name]) else "bad_timestamp"
        elif not rules.oldest_micros <= moment <= now + rules.max_future_seconds * 1_000_000:
            reasons[name] = "timestamp_out_of_range"
        elif name == "timestamp" and _is_late(moment, rules, arrived):
            reasons[name] = "arrived_too_late"
    if not reasons:
        return None
    for reason, hint in _HINTS.items():
        for name, problem in reasons.items():
            if problem == reason:
                limits = {**vars(rules), "oldest": rules.oldest.isoformat()}
                return Rejection(reason, name, f'found "{record[name][:CLIP]}"; {hint.format(**limits)}')
    raise AssertionError(reasons)


def _is_late(moment: int, rules: ValidationRules, arrived: int | None) -> bool:
    if rules.max_late_seconds is None or arrived is None:
        return False
    return moment < arrived - rules.max_late_seconds * 1_000_000


def _is_naive(text: str) -> bool:
    """Whether the text is a date and time that exists, but has no offset."""
    match = _TIME.match(text)
    return match is not None and not match[8] and micros(text.rstrip("\r\n") + "Z") is not None


def micros(text: str) -> int | None:
    """Microseconds since 1970 of an ISO-8601 text with an offset; None where it names no moment.

    Not ``datetime.fromisoformat``: that takes week dates and hour 24 in some versions, and knows no year 0.
    """
    match = _TIME.match(text)
    if match is None or not match[8]:
        return None
    year, month, day, hour, minute = (int(part) for part in match.group(1, 2, 3, 4, 5))
    second, decimals = int(match[6] or 0), int((match[7] or "0")[:6].ljust(6, "0"))
    offset = 60 * int(match[10] or 0) + int(match[11] or 0)
    if not (1 <= month <= 12 and hour <= 23 and minute <= 59 and second <= 59):
        return None
    if offset > 18 * 60 or int(match[11] or 0) > 59:
        return None
    years, days = GREGORIAN_CYCLE
    shifted = year or years  # Python's calendar has no year 0, which was a leap year as 400 was
    if not 1 <= day <= monthrange(shifted, month)[1]:
        return None
    ordinal = date(shifted, month, day).toordinal() - (0 if year else days)
    minutes = 1440 * (ordinal - EPOCH.toordinal()) + 60 * hour + minute - (-offset if match[9] == "-" else offset)
    return 1_000_000 * (60 * minutes + second) + decimals


def _event(text: str, record: dict[str, Any], times: dict[str, int | None]) -> Event:
    timestamp = times["timestamp"]
    assert timestamp is not None
    texts = record["user_id"], record["action"], record["page"]
    event_id, session_id = (None if is_blank(record.get(name) or "") else record[name] for name in IDS)
    properties = _properties(text, record) or None
    return Event(*texts, timestamp, event_id, session_id, times.get("sent_at"), properties)


def _properties(text: str, record: dict[str, Any]) -> dict[str, str | None]:
    """``properties`` and the extra fields in one map of texts."""
    extra = {name: value for name, value in record.items() if name not in FIELDS}
    own: dict[str, Any] = record.get("properties") or {}
    needs_text = any(isinstance(value, dict | list) for value in (*extra.values(), *own.values()))
    written = as_written(text) if needs_text else {}
    texts = _texts(own, as_written(written["properties"]) if needs_text and own else {})
    for name, value in _texts(extra, written).items():
        if name not in own:
            texts[name] = value
        elif (path := f"$.{name}") not in own and path not in extra:
            texts[path] = value
    return texts


_WORDS = {True: "true", False: "false"}


def _texts(values: dict[str, Any], written: dict[str, str]) -> dict[str, str | None]:
    """Strings as sent, numbers as written, nested values from ``written``."""
    return {
        name: written[name] if isinstance(value, dict | list) else _WORDS.get(value, value)
        for name, value in values.items()
    }
