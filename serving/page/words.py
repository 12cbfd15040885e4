"""How numbers, times and foreign text are written on the page."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime

from scoring.reasons import amount

NOTHING = "-"
"""Written where there is no value."""
MAX_LENGTH = 200
"""Characters of a foreign text that are shown."""

UNSEEN = ("Cc", "Cf", "Zl", "Zp", "Cs", "Co", "Cn")
"""Kinds of characters that show nothing, or turn the direction of what stands around them."""


def shown(text: object, most: int = MAX_LENGTH) -> str:
    """Foreign text so that it can be read and cannot deceive: what shows nothing is written as its code, and it is cut.

    It is text, not markup: the templates escape it.
    """
    plain = str(text)
    cut = plain if len(plain) <= most else plain[: most - 1] + "…"
    return "".join(_coded(sign) if unicodedata.category(sign) in UNSEEN else sign for sign in cut)


def _coded(sign: str) -> str:
    number = ord(sign)
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def lines(text: str, most: int = 8000) -> str:
    """:func:`shown`, line by line."""
    return "\n".join(shown(line, MAX_LENGTH * 5) for line in text[:most].split("\n"))


def number(value: float | None, unit: str = "") -> str:
    """A number as people write it; NOTHING where there is none."""
    return NOTHING if value is None else amount(float(value), unit)


def share(value: float | None) -> str:
    """A share of 0 to 1 in percent."""
    return number(value, "share")


def seconds(value: float | None) -> str:
    """A time span in the unit that suits it: 0.8 s, 42 s, 5 min, 3 h, 2 days."""
    if value is None:
        return NOTHING
    for most, divisor, unit in ((10, 1, "s"), (120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if value < most:
            return f"{value / divisor:.{1 if most == 10 else 0}f} {unit}"
    return f"{value / 86_400:.0f} days"


def clock(when: datetime | float | None, now: datetime | None = None) -> str:
    """A UTC time: the hour where it is today's, the day too where it is not."""
    if when is None:
        return NOTHING
    moment = utc(when)
    today = (now or datetime.now(UTC)).date()
    return f"{moment:%H:%M:%S}" if moment.date() == today else f"{moment:%Y-%m-%d %H:%M}"


def iso(when: datetime | float) -> str:
    return utc(when).isoformat(timespec="seconds")


def utc(when: datetime | float) -> datetime:
    """The moment in UTC; times without a zone are Delta's, which are UTC."""
    if isinstance(when, datetime):
        return when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)
    return datetime.fromtimestamp(when, UTC)


def minutes(first: datetime, last: datetime, now: datetime | None = None) -> str:
    """A span of minutes, "12:03 to 12:09", with the day where it is not today."""
    begin, end = utc(first), utc(last)
    day = "" if begin.date() == (now or datetime.now(UTC)).date() else f"{begin:%Y-%m-%d} "
    until = "" if begin == end else f" to {end:%H:%M}" if begin.date() == end.date() else f" to {end:%Y-%m-%d %H:%M}"
    return f"{day}{begin:%H:%M}{until}"


def plural(count: int, one: str, many: str = "") -> str:
    """ "1 record", "3 records"."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
