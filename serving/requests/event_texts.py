"""The body of a request, split into the texts of its events, every byte of them as it was sent."""

from __future__ import annotations

import re
from http import HTTPStatus
from itertools import islice

from starlette.requests import Request

from features.strict_json import STRING
from features.validation import is_packed
from serving.requests.body import media_type
from serving.responses.problems import ProblemError

CLOUD_EVENTS = ("application/cloudevents+json", "application/cloudevents-batch+json")
"""One, or an array of them: ``ingest.mappings`` says how they are read."""
LINES = ("application/x-ndjson", "application/jsonl", "application/json-lines")
ANY = ("application/json", "text/plain", "")
"""``sendBeacon`` sends text as text/plain, which needs no preflight."""

_BLANKS = b" \t\n\r"
_OPEN, _CLOSE = (b"[", b"{"), (b"]", b"}")
MAX_BRACKETS = 50_000
"""Objects and arrays in one body: each is a step in Python."""


def _next(signs: str) -> re.Pattern[bytes]:
    """Up to the next of the signs outside of strings; a string without an end takes all the rest.

    At most so many strings in one match, since a match keeps every other thread from running.
    """
    others = re.escape(signs)
    return re.compile(rf'(?:[^"{others}]++|{STRING}){{0,1000}}+([{others}]|"(?!{STRING[1:]})[\s\S]*+)?'.encode())


_BRACKET, _BRACKET_OR_COMMA = _next("[]{}"), _next("[]{},")
_LINE = re.compile(rb"[^ \t\r\n][^\n]*+")


def media_type_of_events(request: Request) -> str:
    """The type of the body.

    Raises:
        ProblemError: events are not taken as such a type.
    """
    media = media_type(request)
    if media not in (*ANY, *LINES, *CLOUD_EVENTS):
        detail = f"A body of type {media[:100]} is not taken; send application/json, text/plain or {LINES[0]}."
        raise ProblemError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail)
    return media


def event_texts(body: bytes, media: str, max_events: int) -> list[bytes]:
    """The texts of the events.

    Raises:
        ProblemError: there are more than ``max_events``, or the body has too many objects and arrays: those within
            strings are counted, too.
    """
    if body.count(b"[") + body.count(b"{") > MAX_BRACKETS:
        detail = f"The body has more than {MAX_BRACKETS} objects and arrays. Send smaller batches."
        raise ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
    texts = split(body, media, max_events)
    refuse_more_than(max_events, len(texts))
    return texts


def refuse_more_than(max_events: int, count: int) -> None:
    """Raises:
    ProblemError: there are more events.
    """
    if count > max_events:
        detail = f"More than {max_events} events in one request. Send smaller batches."
        raise ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)


def split(body: bytes, media: str = "", most: int = 1_000_000_000) -> list[bytes]:
    """The texts of the events, without the blanks around them; what is no event is one of the texts, too.

    A body is an array of events, one event (over any number of lines), or one event per line, whatever ``media`` says;
    only where it says lines, lines are what counts. Blank lines are none. Structure is ASCII, so that a broken
    character in one event does not spoil the others. An array that does not end is one text.

    Where there are more than ``most`` events, the first ``most`` + 1 are enough to know: splitting ends with them.
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
    texts: list[bytes] = []
    depth, begin, at = 1, 1, 1
    while depth and len(texts) <= most:
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
            texts.append(array[begin : at - 1].strip(_BLANKS))
            begin = at
    if depth == 0 and (array[at - 1 : at] != b"]" or at != len(array)):
        return [array]
    return [] if texts == [b""] else texts


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
