"""Times as logs write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache

from features.events import EPOCH

_MONTHS = {
    name: n
    for n, name in enumerate(("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), 1)
}
_COMMON = re.compile(
    r"(\d{1,2})/([A-Z][a-z]{2})/(\d{4}):(\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?(?:\s*([+-])(\d\d):?(\d\d))?"
)
_ISO = re.compile(
    r"(\d{4})[-/](\d\d)[-/](\d\d)(?:[Tt]|\s+-?\s*)(\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?"
    r"\s*(?:([Zz]|UTC|GMT)|([+-])(\d\d):?(\d\d)?)?"
)
_EPOCH = re.compile(r"(\d{10})(?:\.(\d{1,9}))?|(\d{13})|(\d{16})")


def log_time(text: str) -> datetime | None:
    """A time in UTC; None where there is no such time, or none is written so.

    Understood are ``22/Jan/2019:03:56:14 +0330`` with or without parts of a second, ISO 8601, and seconds, milliseconds
    or microseconds since 1970. A time that names no zone is UTC, as the W3C's format has it.
    """
    return _since_1970(text) if text[:10].isdecimal() else _by_calendar(text)


def _since_1970(text: str) -> datetime | None:
    if not (match := _EPOCH.fullmatch(text)):
        return None
    seconds, part, millis, micros = match.groups()
    if seconds:
        return EPOCH + timedelta(0, int(seconds), _micros(part))
    return EPOCH + (timedelta(milliseconds=int(millis)) if millis else timedelta(microseconds=int(micros)))


@lru_cache(maxsize=4096)
def _by_calendar(text: str) -> datetime | None:
    try:
        if match := _COMMON.fullmatch(text):
            day, month, year, hour, minute, second, part, sign, hours, minutes = match.groups()
            fields = int(year), _MONTHS[month], int(day), int(hour), int(minute), int(second)
            return _utc(fields, part, sign, hours, minutes)
        if match := _ISO.fullmatch(text):
            *numbers, part, _, sign, hours, minutes = match.groups()
            return _utc(tuple(map(int, numbers)), part, sign, hours, minutes)
    except (KeyError, ValueError, OverflowError):
        pass
    return None


def _utc(
    fields: tuple[int, ...], part: str | None, sign: str | None, hours: str | None, minutes: str | None
) -> datetime:
    year, month, day, hour, minute, second = fields
    return datetime(year, month, day, hour, minute, second, _micros(part), tzinfo=UTC) - _offset(sign, hours, minutes)


@lru_cache(maxsize=256)
def _offset(sign: str | None, hours: str | None, minutes: str | None) -> timedelta:
    """Of a zone to UTC. Raises ValueError where it is a day or more: there is no such zone."""
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    return timezone(-offset if sign == "-" else offset).utcoffset(None)


def _micros(part: str | None) -> int:
    return int(part[:6].ljust(6, "0")) if part else 0
