"""What collectors put around a server's line: syslog, containers and what follows their logs."""

from __future__ import annotations

import re

_ISO = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?"
_STAMP = rf"(?:[A-Z][a-z]{{2}} [ \d]?\d (?:\d{{4}} )?\d\d:\d\d:\d\d|{_ISO})"
_PREFIX = re.compile(
    "|".join(
        (
            rf"<\d{{1,3}}>1 (?:{_ISO}|-) \S+ \S+ \S+ \S+ (?:-|(?:\[(?:[^\]\\]|\\.)*\])+) (?:\xef\xbb\xbf)?",
            rf"(?:<\d{{1,3}}>)?{_STAMP} (?:[\w.:-]+ )?[\w./-]+(?:\[\d+\])?: ",
            rf"{_ISO} (?:stdout|stderr) [FP] ",
            r"\[(?:pod|container)/[^\]\s]+\] ",
            r"[\w./-]+ +\| ",
        )
    ),
    re.ASCII,
)
"""Syslog of RFC 5424 and of RFC 3164, containers (CRI), ``kubectl logs --prefix``, ``docker compose logs``."""
_STAMPED = re.compile(rf"{_ISO} ")
"""``--timestamps`` of docker and kubectl."""
_TIME_INSIDE = re.compile(rf"\[\d{{1,2}}/[A-Z][a-z]{{2}}/\d{{4}}:|\[\d{{4}}-\d\d-\d\d[T ]|{_ISO} ")
_TEXTS = ("log", "message", "MESSAGE", "msg", "line", "textPayload")
"""Where collectors that write JSON put a server's line."""
_ANY_TEXT = frozenset(_TEXTS)
DEEPEST = 4


def unwrapped(line: str) -> str:
    """``line`` without what stands before a server's own, such as ``Oct 15 12:00:00 web1 nginx: ``."""
    for _ in range(DEEPEST):
        shorter = _without_one(line)
        if shorter is line:
            break
        line = shorter
    return line


def _without_one(line: str) -> str:
    if match := _PREFIX.match(line):
        return line[match.end() :]
    if (match := _STAMPED.match(line)) and _TIME_INSIDE.search(line, match.end()):
        return line[match.end() :]
    return line


def text_in(record: dict[str, object]) -> str | None:
    """The line of text in a record of a collector, such as Docker's; None where there is none."""
    if _ANY_TEXT.isdisjoint(record):
        return None
    for name in _TEXTS:
        text = record.get(name)
        if isinstance(text, str) and " " in text:
            return text.rstrip("\r\n").encode("utf-8", "replace").decode("latin-1")
    return None
