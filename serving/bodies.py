"""Cutting the body of a request into the texts of its events, every byte of them as it was sent."""

from __future__ import annotations

import re
from itertools import islice

from features.judging import STRING
from serving.judging import is_packed

LINES = ("application/x-ndjson", "application/jsonl", "application/json-lines")
ANY = ("application/json", "text/plain", "")
"""``sendBeacon`` sends text as text/plain, which needs no preflight."""

_BLANKS = b" \t\n\r"
_OPEN, _CLOSE = (b"[", b"{"), (b"]", b"}")
MOST_BRACKETS = 50_000
"""Objects and arrays in one body: each is a step in Python."""


def _next(signs: str) -> re.Pattern[bytes]:
    """Up to the next of the signs outside of strings; a string without an end takes all the rest.

    At most so many strings in one match, since a match keeps every other thread from running.
    """
    others = re.escape(signs)
    return re.compile(rf'(?:[^"{others}]++|{STRING}){{0,1000}}+([{others}]|"(?!{STRING[1:]})[\s\S]*+)?'.encode())


_BRACKET, _BRACKET_OR_COMMA = _next("[]{}"), _next("[]{},")
_LINE = re.compile(rb"[^ \t\r\n][^\n]*+")


def media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def is_too_nested(body: bytes) -> bool:
    """Whether it has more brackets than are followed; those within strings are counted, too."""
    return body.count(b"[") + body.count(b"{") > MOST_BRACKETS


def cut(body: bytes, media: str = "", most: int = 1_000_000_000) -> list[bytes]:
    """The texts of the events, without the blanks around them; what is no event is one of the texts, too.

    A body is an array of events, one event (over any number of lines), or one event per line, whatever ``media`` says;
    only where it says lines, lines are what counts. Blank lines are none. Structure is ASCII, so that a broken
    character in one event does not spoil the others. An array that does not end is one text.

    Where there are more than ``most`` events, the first ``most`` + 1 are enough to know: cutting ends with them.
    """
    whole = body.strip(_BLANKS)
    if not whole or is_packed(whole):
        return [whole] if whole else []
    if media not in LINES:
        if whole.startswith(b"["):
            return _elements(whole, most)
        if b"\n" not in whole or _end(whole) == len(whole):
            return [whole]
    return [line[0].rstrip(_BLANKS) for line in islice(_LINE.finditer(whole), most + 1)]


def _elements(array: bytes, most: int) -> list[bytes]:
    """The elements of an array; the whole text as one where it does not end with its last bracket."""
    found: list[bytes] = []
    depth, begin, at = 1, 1, 1
    while depth and len(found) <= most:
        sign = (_BRACKET_OR_COMMA if depth == 1 else _BRACKET).match(array, at)
        assert sign is not None  # it matches nothing, too
        if at == len(array):
            return [array]
        at = sign.end()
        what = sign[1]
        if what in _OPEN:
            depth += 1
        elif what in _CLOSE:
            depth -= 1
        if depth == 0 or (depth == 1 and what == b","):
            found.append(array[begin : at - 1].strip(_BLANKS))
            begin = at
    if depth == 0 and (array[at - 1 : at] != b"]" or at != len(array)):
        return [array]
    return [] if found == [b""] else found


def _end(text: bytes) -> int:
    """Where the first object or array of the text ends; -1 where it does not."""
    depth = at = 0
    while at < len(text):
        sign = _BRACKET.match(text, at)
        assert sign is not None
        at = sign.end()
        if sign[1] in _OPEN:
            depth += 1
        elif sign[1] in _CLOSE:
            depth -= 1
            if depth <= 0:
                return at
    return -1
