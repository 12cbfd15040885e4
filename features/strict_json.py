"""JSON as strictly as its standard, by Python's own parser, with every value as it was written.

NaN is refused, equal keys are counted and numbers are left as written: each would else be read as something else than
what the sender wrote.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

BLANKS = " \t\n\r"
# Possessive, so that they are matched without going back: strangers choose the text.
SPACE = r"[ \t\n\r]*+"
STRING = r'"(?:[^"\\]++|\\[\s\S])*+"'
"""A regular expression."""


class Number(str):
    """A JSON number as written: reading it would round it."""

    __slots__ = ()


class Twice(dict[str, Any]):
    """An object in which a key occurs twice; ``again`` is the first such key."""

    again: str


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(members)
    if len(unique) == len(members):
        return unique
    twice = Twice(unique)
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


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=Number, parse_float=Number, parse_constant=_refuse, strict=True
)


def first_value(text: str) -> tuple[Any, int]:
    """The value that the text starts with, and its end; None for one nested deeper than Python's parser follows.

    Raises:
        ValueError: it starts with no JSON value.
    """
    begin = skipped(text, 0)
    try:
        return _DECODER.raw_decode(text, begin)
    except RecursionError:  # at some 900 levels, more than any limit
        end = value_end(text, begin, STRICT)
    if end is None:
        raise ValueError("no JSON")
    return None, end


_NUMBER = r"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?"
_ESCAPE = r'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})'


def _grammar(inside: str, scalars: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """A value, and one behind its key: whole, or where something is in it, its opening bracket (group 1)."""
    string = rf'"(?:[^"\\{inside}]++|{_ESCAPE})*+"'
    value = rf"{SPACE}(?:{string}|{scalars}|\[{SPACE}\]|\{{{SPACE}\}}|([\[{{]))"
    return re.compile(value), re.compile(rf"{SPACE}{string}{SPACE}:{value}")


STRICT = _grammar(r"\x00-\x1f", rf"{_NUMBER}|true|false|null")
LENIENT = _grammar("", rf"{_NUMBER}|true|false|null|[-+]INF|[-+]?Infinity|NaN")
"""With raw control characters and the numbers that JSON has not."""
_NEXT = re.compile(rf"{SPACE}([,\]}}])")
_CLOSING = {"[": "]", "{": "}"}


def value_end(text: str, at: int, grammar: tuple[re.Pattern[str], re.Pattern[str]]) -> int | None:
    """Where the JSON value at ``at`` ends, however deep it is nested; None where there is none."""
    value, member = grammar
    closing: list[str] = []
    while True:
        match = (member if closing[-1:] == ["}"] else value).match(text, at)
        if match is None:
            return None
        at = match.end()
        if match[1]:
            closing.append(_CLOSING[match[1]])
            continue
        while closing:
            match = _NEXT.match(text, at)
            if match is None or match[1] not in (",", closing[-1]):
                return None
            at = match.end()
            if match[1] == ",":
                break
            closing.pop()
        if not closing:
            return at


def skipped(text: str, at: int) -> int:
    while at < len(text) and text[at] in BLANKS:
        at += 1
    return at


def members(text: str) -> list[tuple[str, str]]:
    """Names and values of a sound object, each value as the sender wrote it; a name may be there twice."""
    written = []
    at = skipped(text, text.index("{") + 1)
    while text[at] != "}":
        name, at = _DECODER.raw_decode(text, at)
        begin = skipped(text, skipped(text, at) + 1)
        _, end = _DECODER.raw_decode(text, begin)
        written.append((name, text[begin:end]))
        at = skipped(text, end)
        if text[at] == ",":
            at = skipped(text, at + 1)
    return written


def as_written(text: str) -> dict[str, str]:
    """:func:`members` by name."""
    return dict(members(text))


def elements(text: str) -> Iterator[str]:
    """The values of a sound array, each as the sender wrote it."""
    at = skipped(text, text.index("[") + 1)
    while text[at] != "]":
        _, end = _DECODER.raw_decode(text, at)
        yield text[at:end]
        at = skipped(text, end)
        if text[at] == ",":
            at = skipped(text, at + 1)
