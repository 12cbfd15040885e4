"""Judging one event's JSON text at the door, without Spark: the same reasons as ingest, found in the same order.

:mod:`features.events` says what an event is, and stays the judge. This module gives the sender the answer at once. It
shares the names, the limits and the regular expressions with ingest, and reads JSON with Python's own parser, which is
as strict as Jackson once NaN is refused and equal keys are counted.

Left to ingest: ``duplicate_event_id`` and ``erased_user`` need the tables.

Where the two differ, the door is the stricter one or only the name of the reason differs:

- A line end behind a time (``"…00Z\\n"``) is ``bad_timestamp`` here; ingest takes it.
- JSON that is nested over hundreds of levels and broken as well is ``too_deep`` here and ``not_json`` there.
- The door's clock is read when the event arrives, ingest's when it is read: an event too far ahead now may be taken
  a minute later, never the other way round as long as the clocks agree.
- What is blank follows Python's Unicode tables here and Java's there: a format character that only one knows differs.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from calendar import monthrange
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

from features.events import EPOCH, JudgingRules
from features.judging import (
    CLIP,
    CONTROL_IN_STRING,
    ESCAPED_NUL,
    FIELDS,
    HALF_A_PAIR,
    KEY_OF_NO_NUMBER,
    LONG_NUMBER,
    LONGEST_NAME,
    LONGEST_NUMBER,
    OBJECT_START,
    REQUIRED,
    SPACE,
    STRING,
    TIMES,
)

BLANKS = " \t\n\r"
GREGORIAN_CYCLE = 400, date(401, 1, 1).toordinal() - 1
"""Years after which the calendar repeats, and their days."""


class Fault(NamedTuple):
    """Why a text is no event; ``reason`` is a name of ``features.events.REASONS``."""

    reason: str
    field: str | None = None
    detail: str | None = None


class Verdict(NamedTuple):
    """``fault`` is None for an event; then ``user_id`` says whose it is."""

    fault: Fault | None
    user_id: str = ""


class _Number(str):
    """A JSON number as written: reading it would round it."""

    __slots__ = ()


class _Twice(dict[str, Any]):
    """An object in which a key occurs twice; ``again`` is the first such key."""

    again: str


def judge(value: bytes, rules: JudgingRules, now: datetime) -> Verdict:
    """The verdict on one record's value, at most as lenient as ingest's.

    Args:
        value: the bytes that would be sent.
        rules: ingest's limits.
        now: with a zone; stands for the ``ingested_at`` of the record.
    """
    fault = _fault_of_bytes(value, rules)
    if fault is not None:
        return Verdict(fault)
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return Verdict(Fault("not_utf8", None, "bytes that are no UTF-8"))
    found = _reading(text, len(value), rules)
    if isinstance(found, Fault):
        return Verdict(found)
    fault = _fault_of_fields(text, found) or _fault_of_values(found, rules, now)
    return Verdict(fault) if fault else Verdict(None, found["user_id"])


# --- bytes and text ----------------------------------------------------------------------------------------------

_EMPTY = re.compile(b"[ \t\n\r]*+(?:\xc2\x85|\xe2\x80[\xa8\xa9])?\\Z")  # Java's $ comes before any last line end
_PACKED = {
    b"\x1f\x8b": "gzip bytes: send them unpacked",
    b"\xff\xfe": "UTF-16 or UTF-32 text: send UTF-8",
    b"\xfe\xff": "UTF-16 text: send UTF-8",
}
_LONG_NUMBER = re.compile(LONG_NUMBER)
_NAME = re.compile(rf'"((?:[^"\\]++|\\[\s\S])*+)(?:"({SPACE}:)?)?')
_HALF_A_PAIR = re.compile(HALF_A_PAIR)
_ESCAPED_NUL = re.compile(ESCAPED_NUL)
_CONTROL = re.compile(CONTROL_IN_STRING)
_KEY_OF_NO_NUMBER = re.compile(KEY_OF_NO_NUMBER)
_OBJECT_START = re.compile(OBJECT_START)
# A string without an end takes all the rest: looked for again from each quote in it, it takes minutes.
_NO_NUMBER = re.compile(rf'({STRING}|"[\s\S]*+)|[-+]?(?:INF|Infinity)|NaN')
_BRACKET = re.compile(rf"{STRING}|([\[{{])|[\]}}]")


def is_packed(value: bytes) -> bool:
    """Whether the bytes start as gzip or UTF-16 does: then they are no text to be cut into events."""
    return value[:2] in _PACKED


def _fault_of_bytes(value: bytes, rules: JudgingRules) -> Fault | None:
    if len(value) > rules.max_bytes:
        return Fault("too_large", None, f"{len(value)} bytes; the limit is {rules.max_bytes}")
    if _EMPTY.match(value):
        return Fault("empty", None, f"{len(value)} bytes")
    packed = _PACKED.get(value[:2])
    return Fault("not_json", None, packed) if packed else None


def _reading(text: str, size: int, rules: JudgingRules) -> dict[str, Any] | Fault:
    """The object, whose text is sound JSON without equal keys; or what is wrong with the text."""
    if (size > LONGEST_NUMBER and _LONG_NUMBER.match(text)) or (size > LONGEST_NAME and _has_long_name(text)):
        return Fault("too_large", None, f"a number of over {LONGEST_NUMBER} digits or an endless name")
    if "\\u" in text and _HALF_A_PAIR.match(text):
        return Fault("not_utf8", None, "an escape of half a surrogate pair")
    if not _OBJECT_START.match(text):
        return _no_object(text, rules)
    try:
        record, end = _strict.raw_decode(text, text.index("{"))
    except ValueError:
        return _unreadable_object(text)
    except RecursionError:
        return _too_deep(rules)
    if _depth(text[:end]) > rules.max_depth:
        return _too_deep(rules)
    if text[end:].strip(BLANKS):
        return Fault("trailing_data", None, "more follows the object")
    if "\\u0000" in text and _ESCAPED_NUL.match(text):
        return Fault("control_character", None, "an escaped NUL")
    assert isinstance(record, dict)
    if isinstance(record, _Twice):
        return Fault("duplicate_key", record.again[:CLIP], "more than one value")
    return record


def _has_long_name(text: str) -> bool:
    """Whether a key has LONGEST_NAME characters or more, an escape's backslash and next character counted as one."""
    names = (match[1] for match in _NAME.finditer(text) if match[2] and len(match[1]) >= LONGEST_NAME)
    return any(len(re.sub(r"\\[\s\S]", "x", name)) >= LONGEST_NAME for name in names)


def _depth(text: str) -> int:
    """How deep sound JSON is nested."""
    depth = deepest = 0
    for match in _BRACKET.finditer(text):
        if match[1]:
            depth += 1
            deepest = max(deepest, depth)
        elif match[0] in "]}":
            depth -= 1
    return deepest


def _too_deep(rules: JudgingRules) -> Fault:
    return Fault("too_deep", None, f"nested deeper than {rules.max_depth} levels")


def _no_object(text: str, rules: JudgingRules) -> Fault:
    try:
        _, end = _strict.raw_decode(text, len(text) - len(text.lstrip(BLANKS)))
    except ValueError:
        return _not_json(text)
    except RecursionError:
        return _too_deep(rules)
    if text[end:].strip(BLANKS):
        return _not_json(text)
    if _depth(text) > rules.max_depth:
        return _too_deep(rules)
    return Fault("not_an_object", None, f"found {_kind(text.lstrip(BLANKS))}")


def _unreadable_object(text: str) -> Fault:
    """Tells raw control characters, and NaN or Infinity, from what is no JSON at all."""
    whole = _NO_NUMBER.sub(lambda match: match[1] or "null", text).strip(BLANKS)
    try:
        _, end = _lenient.raw_decode(whole)
    except (ValueError, RecursionError):
        return _not_json(text)
    if end != len(whole):
        return _not_json(text)
    if _CONTROL.match(text):
        return Fault("control_character", None, "a raw one within a string")
    key = _KEY_OF_NO_NUMBER.match(text)
    return Fault("wrong_type", key[1][:CLIP] if key and key[1] else None, "NaN or Infinity, which is no JSON number")


def _not_json(text: str) -> Fault:
    if text.startswith("\ufeff"):
        return Fault("not_json", None, "starts with a byte-order mark")
    if "\0" in text:
        return Fault("not_json", None, "has NUL bytes, as UTF-16 or UTF-32 has: send UTF-8")
    if _OBJECT_START.match(text) and not text.rstrip(BLANKS).endswith("}"):
        return Fault("not_json", None, "cut off: no } at the end")
    return Fault("not_json", None, f"starts with: {text[:CLIP]}")


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) == len(members):
        return found
    twice = _Twice(found)
    twice.again = first_repeated(name for name, _ in members)
    return twice


def first_repeated(names: Iterable[str]) -> str:
    """The first name that was there before; one is. One look at each: thousands of names come from strangers."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    raise AssertionError("no name is there twice")


def _refuse(name: str) -> Any:
    raise ValueError(name)


def _decoder(*, strict: bool) -> json.JSONDecoder:
    return json.JSONDecoder(
        object_pairs_hook=_object, parse_int=_Number, parse_float=_Number, parse_constant=_refuse, strict=strict
    )


_strict, _lenient = _decoder(strict=True), _decoder(strict=False)

# --- fields ------------------------------------------------------------------------------------------------------

_SUSPECTED = re.compile(r"[0-9][eE]\+?[0-9]{2}|(?<![0-9])[0-9]{300}")  # digits are counted once, from their first


def _fault_of_fields(text: str, record: dict[str, Any]) -> Fault | None:
    """Equal keys further in, numbers beyond doubles, missing fields and wrong types."""
    for name, value in record.items():
        if _holds(value, lambda part: isinstance(part, _Twice)):
            return Fault("duplicate_key", name[:CLIP], "a key twice within it")
    if _SUSPECTED.search(text):
        for name, value in record.items():
            if _holds(value, lambda part: isinstance(part, _Number) and math.isinf(float(part))):
                return Fault("wrong_type", name[:CLIP], "a number beyond any range")
    for name in REQUIRED:
        if record.get(name) is None:
            return Fault("missing_field", name, _how_missing(name, record))
    for name in FIELDS:
        if not _is_right_kind(name, record.get(name)):
            needed = "an object" if name == "properties" else "a string"
            written = _as_written(text, name)
            return Fault("wrong_type", name, f"found {_kind(written)}: {written[:CLIP]}; needed {needed}")
    return None


def _holds(value: object, sought: Callable[[object], bool]) -> bool:
    """Whether the value, or one within it at any depth, is one that is sought."""
    if sought(value):
        return True
    within = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(_holds(part, sought) for part in within)


def _is_right_kind(name: str, value: object) -> bool:
    """A number for a time is left to the judge of times."""
    if value is None:
        return True
    if name == "properties":
        return isinstance(value, dict)
    return isinstance(value, str) and (name in TIMES or not isinstance(value, _Number))


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


def _as_written(text: str, name: str) -> str:
    """The value of a field of sound JSON, as the sender wrote it."""
    at, key = text.index("{"), ""
    while key != name:
        key, at = _strict.raw_decode(text, _skipped(text, at + 1))
        begin = _skipped(text, _skipped(text, at) + 1)
        _, end = _strict.raw_decode(text, begin)
        at = _skipped(text, end)
        if key == name:
            return text[begin:end]
    return ""


def _skipped(text: str, at: int) -> int:
    while text[at] in BLANKS:
        at += 1
    return at


def _kind(written: str) -> str:
    words = {'"': "a string", "{": "an object", "[": "an array", "t": "a boolean", "f": "a boolean", "n": "null"}
    return words.get(written[:1], "a number")


# --- values ------------------------------------------------------------------------------------------------------

_DATE_AND_TIME = r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?"
_OFFSET = r"(?:[Zz]|([+-])(\d\d)(?::?(\d\d))?)"
_TIME = re.compile(rf"{_DATE_AND_TIME}({_OFFSET})?\Z", re.ASCII)


def _fault_of_values(record: dict[str, Any], rules: JudgingRules, now: datetime) -> Fault | None:
    if is_blank(record["user_id"]):
        return Fault("empty_user_id", "user_id", "blank")
    for name in ("action", "page"):
        if is_blank(record[name]):
            return Fault("empty_field", name, "blank")
    reasons = {name: _fault_of_time(name, record[name], rules, now) for name in TIMES if record.get(name) is not None}
    hints = {
        "bad_timestamp": "; needed ISO-8601 text with an offset",
        "naive_timestamp": "; its offset is missing, such as Z or +02:00",
        "timestamp_out_of_range": f"; taken from {rules.oldest.isoformat()} to {rules.max_future_seconds} s from now",
        "arrived_too_late": f"; taken up to {rules.max_late_seconds} s after it was",
    }
    for reason, hint in hints.items():
        for name, found in reasons.items():
            if found == reason:
                return Fault(reason, name, f'found "{record[name][:CLIP]}"{hint}')
    return None


def is_blank(text: str) -> bool:
    """Whether nothing of it can be seen: blanks, control and format characters."""
    categories = map(unicodedata.category, text)
    return all(category[0] == "Z" or category in ("Cc", "Cf") for category in categories)


def _fault_of_time(name: str, text: str, rules: JudgingRules, now: datetime) -> str | None:
    moment = micros(text)
    if moment is None:
        naive = _TIME.match(text)
        return "naive_timestamp" if naive and not naive[8] and micros(text + "Z") is not None else "bad_timestamp"
    latest = _micros_of(now) + rules.max_future_seconds * 1_000_000
    if not _micros_of(rules.oldest) <= moment <= latest:
        return "timestamp_out_of_range"
    if name == "timestamp" and rules.max_late_seconds is not None:
        return "arrived_too_late" if moment < _micros_of(now) - rules.max_late_seconds * 1_000_000 else None
    return None


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


def _micros_of(moment: datetime) -> int:
    since = moment.astimezone(UTC) - EPOCH
    return 1_000_000 * (86_400 * since.days + since.seconds) + since.microseconds
