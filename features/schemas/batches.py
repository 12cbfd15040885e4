"""Records that hold several events, an array or an object around one -> the text of each event.

An event gets the members of the objects around it that it lacks, so that what is left can be validated, and validated
again, as a record of its own. None of its own bytes is changed, and no text is left out: what is around no event is a
record as it stands, to be rejected.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from features.events import REQUIRED, ValidationRules
from features.schemas.mapping import EventMapping
from features.strict_json import BLANKS, Twice, as_written, elements, first_value, members
from features.validation import Rejection

MEMBERS = ("batch", "events")
"""Where an object has its events, if no mapping of its topic says otherwise."""
MOST_EVENTS = 10_000
MOST_REPEATED = 16
"""Times a record's size that its events may have in all: what stands around them is repeated in each, and so are the
record's key and headers."""
ARRAY, OBJECT = b"[", b"{"
_START = 64
"""Bytes at a record's begin within which its first bracket is."""

Path = tuple[str, ...]
"""Names of members, each but the last of an object or of those in an array; none leads to the record itself."""


class _TooLarge(Exception):
    """Why the events of a record are not to be had."""


class _Budget:
    """What the events of a record may take in all."""

    def __init__(self, size: int, beside: int) -> None:
        self.size, self.beside = size + beside, beside
        self.left, self.count = MOST_REPEATED * self.size, 0

    def spend(self, amount: int) -> None:
        self.left -= amount
        if self.left < 0:
            raise _TooLarge(f"what its events share takes more than {MOST_REPEATED} times its {self.size} bytes")

    def event(self, text: str) -> bytes:
        encoded = text.encode()
        self.spend(len(encoded) + self.beside)
        self.count += 1
        if self.count > MOST_EVENTS:
            raise _TooLarge(f"more than {MOST_EVENTS} events in one record")
        return encoded


def events_of(
    value: bytes, rules: ValidationRules, mapping: EventMapping | None, beside: int = 0
) -> list[bytes] | Rejection | None:
    """The events in the value of a record that is no event itself; None where it is no batch.

    An array is one, if an object is in it; elements that are none become records that are rejected as such. An object
    is one if it has such an array where the ``mapping`` says so or, without a mapping, as member ``batch`` or
    ``events``, and lacks a required field of an event. What is named as an event's id is not given to the others.

    Args:
        beside: bytes of the record beside its value, which each event gets, too.

    Returns:
        A rejection where the events would be too many or too large.
    """
    begin = value[:_START].lstrip()[:1]
    paths = _paths(value, mapping) if begin == OBJECT else [()] if begin == ARRAY else []
    if not paths:
        return None
    if len(value) > (limit := max(rules.max_batch_bytes, rules.max_bytes)):
        return Rejection("too_large", None, f"{len(value)} bytes; a batch may have {limit}")
    try:
        text = value.decode()
        whole, end = first_value(text)
        if text[end:].strip(BLANKS):
            return None
        path = next((path for path in paths if _holds_events(whole, path)), None)
        if path is None:
            return None
        budget = _Budget(len(value), beside)
        return [budget.event(one) for one in _events(text.strip(BLANKS), path, {}, _ids(mapping), budget)] or None
    except _TooLarge as error:
        return Rejection("too_large", None, str(error))
    except (ValueError, RecursionError):
        return None


def _paths(value: bytes, mapping: EventMapping | None) -> list[Path]:
    """The names of members that lead to the events, as far as they are in the bytes."""
    paths = [(name,) for name in MEMBERS] if mapping is None else mapping.batch_paths
    return [path for path in paths if all(_is_in(name, value) for name in path)]


def _is_in(name: str, value: bytes) -> bool:
    """Whether the name stands somewhere in quotes; a name that is escaped otherwise than JSON's writers do is not."""
    return json.dumps(name).encode() in value or json.dumps(name, ensure_ascii=False).encode() in value


def _holds_events(whole: Any, path: Path) -> bool:
    """Whether the first step finds an array or object to go on in, and a last one an array with an object."""
    if not path:
        return isinstance(whole, list) and any(isinstance(one, dict) for one in whole)
    if isinstance(whole, list):
        return any(_holds_events(one, path) for one in whole)
    if not isinstance(whole, dict) or isinstance(whole, Twice):
        return False
    if path in [(name,) for name in MEMBERS] and all(whole.get(name) is not None for name in REQUIRED):
        return False
    return _holds_events(whole.get(path[0]), path[1:])


def _ids(mapping: EventMapping | None) -> list[Path]:
    """Where an event is named: what is around several names none of them."""
    paths = () if mapping is None else mapping.paths.get("event_id", ())
    found = [
        tuple(map(str, path)) for path in paths if isinstance(path, tuple) and all(isinstance(one, str) for one in path)
    ]
    return [("event_id",), *found, *((".".join(path),) for path in found if len(path) > 1)]


def _events(
    text: str, path: Sequence[str], around: Mapping[str, str], ids: Sequence[Path], budget: _Budget
) -> Iterator[str]:
    """The events in an array, or in an object at ``path``; each with those members ``around`` it that it lacks."""
    if text.startswith("["):
        for element in elements(text):
            if not path:
                yield _with(element, around) if element.startswith("{") else element
            else:
                yield from _events(element, path, around, ids, budget)
        return
    pairs = members(text) if path and text.startswith("{") else []
    own = dict(pairs)
    held = own.pop(path[0], "") if path else ""
    if len(own) + bool(held) < len(pairs) or held[:1] not in ("[", "{") or (len(path) == 1 and held[:1] != "["):
        yield text  # as it stands: nothing tells what is meant
        return
    inherited = {**around, **own}
    for one in ids:
        _leave_out(inherited, one)
    budget.spend(len(inherited))
    yield from _events(held, path[1:], inherited, ids, budget)


def _with(element: str, around: Mapping[str, str]) -> str:
    """The object with those of the members ``around`` it (as written) behind its own that it lacks."""
    own = as_written(element)
    added = ",".join(f"{json.dumps(name)}:{value}" for name, value in around.items() if name not in own)
    return f"{element[:-1].rstrip(BLANKS)}{',' if own else ''}{added}}}" if added else element


def _leave_out(own: dict[str, str], path: Path) -> None:
    """Take out the member at a path, of an object's members as written."""
    name, *rest = path
    if not rest:
        own.pop(name, None)
    elif own.get(name, "").startswith("{"):
        inside = as_written(own[name])
        before = len(inside)
        _leave_out(inside, tuple(rest))
        if len(inside) < before or rest[1:]:
            own[name] = "{" + ",".join(f"{json.dumps(key)}:{value}" for key, value in inside.items()) + "}"
