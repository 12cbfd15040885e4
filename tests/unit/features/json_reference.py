"""What an accepted event's row must hold, by Python's own parsers alone; and how records are spoiled."""

from __future__ import annotations

import json
import random
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from features.context import CONTEXT_FIELDS
from features.events import FIELDS, KNOWN_ACTIONS, TIMES

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
UNSEEN = ("Zs", "Zl", "Zp", "Cc", "Cf")
BLANKS = " \t\n\r"
DECODER = json.JSONDecoder()


def members(text: str) -> dict[str, tuple[Any, str]]:
    """The members of one JSON object: what each value is, and how it was written."""
    found: dict[str, tuple[Any, str]] = {}
    at = _skip(text, text.index("{") + 1)
    while text[at] != "}":
        name, at = DECODER.raw_decode(text, at)
        at = _skip(text, _skip(text, at) + 1)
        value, end = DECODER.raw_decode(text, at)
        found[name] = (value, text[at:end])
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return found


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in BLANKS:
        at += 1
    return at


def expected(value: bytes) -> dict[str, Any]:
    """The fields of an accepted event; times in microseconds since 1970."""
    found = members(value.decode())
    row: dict[str, Any] = {name: found.get(name, (None, ""))[0] for name in FIELDS if name != "properties"}
    for name in TIMES:
        row[name] = instant(row[name]) if row[name] is not None else None
    for name in ("event_id", "session_id"):
        row[name] = None if all(unicodedata.category(sign) in UNSEEN for sign in row[name] or "") else row[name]
    lower = row["action"].lower()
    row["action"] = lower if lower in KNOWN_ACTIONS and row["action"].isascii() else row["action"]
    own = members(found["properties"][1]) if found.get("properties", (None,))[0] is not None else {}
    properties = {name: _text(*pair) for name, pair in own.items()}
    extra = {name: pair for name, pair in found.items() if name not in FIELDS}
    for name, pair in extra.items():
        place = f"$.{name}" if name in own else name
        if place == name or (place not in own and place not in extra):
            properties[place] = _text(*pair)
    row["properties"] = properties or None
    return row


def expected_row(value: bytes) -> dict[str, Any]:
    """The same as columns of table ``events``: with the context, which is no property then."""
    row = expected(value)
    properties = row["properties"] or {}
    return row | context(properties) | {"properties": properties or None}


def context(properties: dict[str, str | None]) -> dict[str, Any]:
    """The columns of the context; what they take is taken away from the properties."""
    row: dict[str, Any] = dict.fromkeys((*CONTEXT_FIELDS, "invalid_fields"))
    for name in CONTEXT_FIELDS:
        text = properties.get(name)
        if name in properties and all(unicodedata.category(sign) in UNSEEN for sign in text or ""):
            del properties[name]
        elif text is not None and (kept := KNOWN_CONTEXT.get(name, {}).get(text.strip().lower())):
            row[name] = kept
            del properties[name]
        elif text is not None and name in ("user_agent", "device_id", "anonymous_id"):
            row[name] = properties.pop(name)
        elif text is not None:
            row["invalid_fields"] = [*(row["invalid_fields"] or []), name]
    return row


KNOWN_CONTEXT = {
    "ip": {"203.0.113.9": "203.0.113.9", "2001:db8::0:1": "2001:db8::1"},
    "country": {"de": "DE", "fra": "FR"},
    "outcome": {"ok": "ok", "failed": "failed"},
}
"""All good values that are sent here, in lower case, and what becomes of them."""


def _text(value: Any, written: str) -> str | None:
    return value if value is None or isinstance(value, str) else written


def instant(text: str) -> int:
    """Microseconds since 1970 of a time that was accepted: then Python reads it, too."""
    return (datetime.fromisoformat(text.strip().upper()) - EPOCH) // timedelta(microseconds=1)


# --- records, and what becomes of them on the way ----------------------------------------------------------------

LETTERS = 'aé\u0301\u05d0\u200f\U0001f600\U00010348字\u202e\\"/\n\t\u0085\u2028\ufeff\x7f{}[]:, '
NUMBERS = (0, -0.0, 1, 19.90, 1e308, 5e-324, -7, 10**30, 2**63, 0.1, True, False, None)


def record(chance: random.Random, number: int) -> dict[str, Any]:
    """A valid event, plain or odd; each has an id of its own."""

    def text(longest: int) -> str:
        return "".join(chance.choice(LETTERS) for _ in range(chance.randint(1, longest))) + "x"

    at = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(microseconds=chance.randrange(10**14) * 6 // 10)
    found: dict[str, Any] = {
        "user_id": chance.choice([f"user-{number % 97}", text(20)]),
        "action": chance.choice(["click", "view", "Interaction", "edit", text(5)]),
        "page": chance.choice(["/", f"/p/{number}", text(200)]),
        "timestamp": chance.choice([at.isoformat(), at.strftime("%Y-%m-%dT%H:%M:%SZ"), f"{at:%Y-%m-%d %H:%M}+05:30"]),
        "event_id": f"id-{number}",
    }
    if chance.random() < 0.3:
        found["session_id"] = chance.choice([text(10), "", None, " "])
    if chance.random() < 0.2:
        found["sent_at"] = (at + timedelta(seconds=1)).isoformat()
    if chance.random() < 0.5:
        found["properties"] = {
            chance.choice(["a", "b", "page", text(4)]): chance.choice([text(30), chance.choice(NUMBERS), {"x": [1.50]}])
            for _ in range(chance.randint(0, 4))
        }
    if chance.random() < 0.3:
        place = found if chance.random() < 0.7 else found.setdefault("properties", {})
        for name in chance.sample(CONTEXT_FIELDS, chance.randint(1, 5)):
            good = [*KNOWN_CONTEXT.get(name, ("a", "Mozilla/5.0", text(9)))]
            place[name] = chance.choice([*good, *good, *good, None, " ", "nothing real", 17, True, ["x"]])
    if chance.random() < 0.3:
        found[chance.choice(["price", "a", "tags", text(4)])] = chance.choice([19.90, [], {"k": None}, text(9), 1e-7])
    return found


def written(chance: random.Random, event: dict[str, Any]) -> bytes:
    """As one of many senders would write it."""
    styles: list[dict[str, Any]] = [{"separators": (",", ":")}, {}, {"indent": 1}]
    text = json.dumps(event, ensure_ascii=chance.random() < 0.3, **chance.choice(styles))
    return text.encode("utf-8", "surrogatepass")


def spoiled(chance: random.Random, event: dict[str, Any], longest: int) -> bytes | None:
    """A record that something happened to; ``longest`` bytes are what enlarging aims at."""
    value = written(chance, event)
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        how = chance.choice(WAYS)
        value = how(chance, value, event)
    if chance.random() < 0.002:
        value = value[:-1] + b',"big":"' + b"x" * (longest - len(value) - 10) + b'"}'
    return None if chance.random() < 0.002 else value


def _flip(chance: random.Random, value: bytes, _: dict[str, Any]) -> bytes:
    changed = bytearray(value)
    for _time in range(chance.randint(1, 3)):
        if changed:
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _cut(chance: random.Random, value: bytes, _: dict[str, Any]) -> bytes:
    first, second = sorted((chance.randrange(len(value) + 1), chance.randrange(len(value) + 1)))
    return chance.choice([value[:first], value[second:], value[:first] + value[second:]])


def _insert(chance: random.Random, value: bytes, _: dict[str, Any]) -> bytes:
    at = chance.randrange(len(value) + 1)
    return value[:at] + chance.choice(TRICKS) + value[at:]


def _nest(chance: random.Random, value: bytes, event: dict[str, Any]) -> bytes:
    levels = chance.choice([1, 2, 29, 31, 33, 500])
    deep = b"[" * levels + b"]" * levels
    return chance.choice([b"[" + value + b"]", b'{"event":' + value + b"}", value[:-1] + b',"deep":' + deep + b"}"])


def _retype(chance: random.Random, _: bytes, event: dict[str, Any]) -> bytes:
    changed = dict(event)
    others: list[Any] = [5, 1.5, True, None, [], {}, ["x"], "", " ", "5", "true", "[]", "{}"]
    changed[chance.choice(list(changed))] = chance.choice(others)
    return written(chance, changed)


def _rekey(chance: random.Random, value: bytes, event: dict[str, Any]) -> bytes:
    name = chance.choice(list(event))
    other = chance.choice([name.upper(), name.replace("_", ""), f" {name}", f"{name}\u200b", "", "properties"])
    renamed = {other if key == name else key: item for key, item in event.items()}
    twice = value[:1] + json.dumps(name).encode() + b":" + json.dumps(event[name]).encode() + b"," + value[1:]
    return chance.choice([written(chance, renamed), twice])


def _follow(chance: random.Random, value: bytes, _: dict[str, Any]) -> bytes:
    return value + chance.choice([value, b"\n" + value, b" x", b",", b"}", b"\x00", b"\n\n \t", b"]"])


def _retime(chance: random.Random, _: bytes, event: dict[str, Any]) -> bytes:
    return written(chance, {**event, chance.choice(["timestamp", "sent_at"]): chance.choice(BAD_TIMES)})


BAD_TIMES = (
    0, 1728129600000, "1728129600", "2024-02-30T00:00:00Z", "2024-01-01T00:00:00", "2024-01-01", "now", "",
    "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2024-01-01T24:00:00Z", "2024-01-01T00:00:60Z",
    "\u0662024-01-01T00:00:00Z", "2024-01-01T00:00:00+18:00", "2024-01-01T00:00:00+18:01",
    "2024-01-01T00:00:00.123456789Z", "2024-01-01t00:00z",
)  # fmt: skip
TRICKS = (
    b"\xff", b"\xc0\xaf", b"\xed\xa0\xbd", b"\xf4\x90\x80\x80", b"\xef\xbb\xbf", b"\x00", b"\x01",
    b"\\u0000", b"\\ud83d", b"\\ude00\\ud83d", b"\\ud83d\\ude00", b"\\\\ud83d", b"\\u0022", b"\\x41",
    b"\\", b'"', b'\\"', b"'", b"NaN", b"-Infinity", b"1e400", b"-0", b"01", b"1" * 1100,
    b"\xe2\x80\xa8", b"\xe2\x80\xae", "\U0001f468\u200d\U0001f469".encode(), b"\xcc\x81" * 50,
    b"{", b"}", b"[", b"]", b",", b":", b" ", b"\n", b"/*x*/", b"null",
)  # fmt: skip
WAYS: tuple[Callable[[random.Random, bytes, dict[str, Any]], bytes], ...] = (
    _flip, _cut, _insert, _insert, _nest, _retype, _rekey, _follow, _retime,
)  # fmt: skip
