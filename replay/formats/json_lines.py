"""Events as the contract has them, one JSON object a line."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta

from features.events import EPOCH
from features.validation import micros
from replay.formats.base import BYTE_ORDER_MARK, EventReader, Record, record_key
from replay.json_objects import object_in
from replay.times import is_measurable

_BLANKS = re.compile(r"[ \t\n\r]*")
_value = json.JSONDecoder().raw_decode


class JsonLinesReader(EventReader):
    """JSON lines: the bytes as they are; where a time is moved or an event id put in, nothing else changes."""

    title = "JSON lines in the event contract"

    @staticmethod
    def recognizes(line: bytes) -> bool:
        return line.lstrip(BYTE_ORDER_MARK + b" \t").startswith(b"{")

    def record(self, line: bytes, shift: timedelta | None = None, event_id: str | None = None) -> Record:
        event = object_in(line)
        if event is None:
            return Record(line, None, False)
        if shift is not None:
            line = shifted(line, shift)
        if event_id is not None and event and "event_id" not in event:
            brace = line.index(b"{") + 1
            line = line[:brace] + b'"event_id":"%s",' % event_id.encode() + line[brace:]
        return Record(line, record_key(event.get("user_id")), True)

    def time(self, line: bytes) -> datetime | None:
        event = object_in(line)
        return None if event is None else _time_of(event.get("timestamp"))


def _time_of(text: object) -> datetime | None:
    """The moment that ingest would read; None where it would read none, or one that is not measurable."""
    if not isinstance(text, str) or (found := micros(text)) is None:
        return None
    try:
        when = EPOCH + timedelta(microseconds=found)
    except OverflowError:
        return None
    return when if is_measurable(when) else None


def shifted(line: bytes, shift: timedelta) -> bytes:
    """A JSON object's line with ``timestamp`` and ``sent_at`` moved, every other byte as it was.

    Times that are not valid in the contract, or far out of range, are left alone: they are validated as they are.
    """
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return line
    for begin, end, value in sorted(_spans(text), reverse=True):
        when = _time_of(value)
        if when is not None:
            moved = (when + shift).isoformat().replace("+00:00", "Z")
            text = f'{text[:begin]}"{moved}"{text[end:]}'
    return text.encode()


def _spans(text: str) -> list[tuple[int, int, object]]:
    """Begin, end and value of the two times on the object's own level, by walking over its members."""
    spans: dict[str, tuple[int, int, object]] = {}
    try:
        at = _skip(text, 0)
        if text[at] != "{":
            return []
        at = _skip(text, at + 1)
        while text[at] == '"':
            name, at = _value(text, at)
            begin = _skip(text, _skip(text, at) + 1)
            value, at = _value(text, begin)
            if name in ("timestamp", "sent_at"):
                spans[name] = (begin, at, value)
            at = _skip(text, at)
            if text[at] != ",":
                break
            at = _skip(text, at + 1)
    except (ValueError, IndexError, RecursionError):
        return []
    return list(spans.values())


def _skip(text: str, at: int) -> int:
    match = _BLANKS.match(text, at)
    return match.end() if match else at
