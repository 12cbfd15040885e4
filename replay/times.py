"""Times of events: how they are written, and which of them can be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

MEASURABLE = (datetime(2000, 1, 1, tzinfo=UTC), timedelta(days=1))
"""Times before this day, or later than this after now, are mistakes: they say nothing about a file's span."""


def is_measurable(when: datetime) -> bool:
    return MEASURABLE[0] <= when <= datetime.now(UTC) + MEASURABLE[1]


@lru_cache(maxsize=4096)
def iso(when: datetime) -> str:
    """A time in UTC as the event contract has it, in seconds or milliseconds."""
    return when.isoformat(timespec="milliseconds" if when.microsecond else "seconds").replace("+00:00", "Z")
