"""Cutting the body of a request into the texts of its events, every byte of them as it was sent."""

from __future__ import annotations

import re

from features.judging import STRING
from serving.judging import is_packed

LINES = ("application/x-ndjson", "application/jsonl", "application/json-lines")
ANY = ("application/json", "text/plain", "")
"""``sendBeacon`` sends text as text/plain, which needs no preflight."""

_BLANKS = b" \t\n\r"
_SIGN = re.compile(rf'{STRING}|"[\s\S]*+|[\[\]{{}},]'.encode())
_OPEN, _CLOSE = (b"[", b"{"), (b"]", b"}")


def media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def cut(body: bytes, media: str = "") -> list[bytes]:
    """The texts of the events, without the blanks around them; what is no event is one of the texts, too.

    A body is an array of events, one event (over any number of lines), or one event per line, whatever ``media`` says;
    only where it says lines, lines are what counts. Blank lines are none. Structure is ASCII, so that a broken
    character in one event does not spoil the others. An array that does not end is one text.
    """
    whole = body.strip(_BLANKS)
    if not whole or is_packed(whole):
        return [whole] if whole else []
    if media not in LINES:
        if whole.startswith(b"["):
            return _elements(whole)
        if b"\n" not in whole or _end(whole) == len(whole):
            return [whole]
    return [line for line in (line.strip(_BLANKS) for line in whole.split(b"\n")) if line]


def _elements(array: bytes) -> list[bytes]:
    """The elements of an array; the whole text as one where it does not end with its last bracket."""
    found: list[bytes] = []
    depth, begin, what = 0, 1, b""
    for sign in _SIGN.finditer(array):
        what = sign[0]
        if what in _OPEN:
            depth += 1
        elif what in _CLOSE:
            depth -= 1
        if depth == 0 or (depth == 1 and what == b","):
            found.append(array[begin : sign.start()].strip(_BLANKS))
            begin = sign.end()
        if depth == 0:
            break
    if depth or what != b"]" or begin != len(array):
        return [array]
    return [] if found == [b""] else found


def _end(text: bytes) -> int:
    """Where the first object or array of the text ends; -1 where it does not."""
    depth = 0
    for sign in _SIGN.finditer(text):
        if sign[0] in _OPEN:
            depth += 1
        elif sign[0] in _CLOSE:
            depth -= 1
            if depth <= 0:
                return sign.end()
    return -1
