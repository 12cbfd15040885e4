"""Times of events: how they are written, and which of them can be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

import orjson

MEASURABLE = (datetime(2000, 1, 1, tzinfo=UTC), timedelta(days=1))
"""Times before this day, or later than this after now, are mistakes: they say nothing about a file's span."""


def is_measurable(when: datetime) -> bool:
    return MEASURABLE[0] <= when <= datetime.now(UTC) + MEASURABLE[1]


def iso(when: datetime) -> str:
    """A time in UTC as the event contract has it, in seconds or milliseconds."""
    if when.microsecond:  # seldom twice the same; orjson writes it in a third of isoformat's time
        return f"{orjson.dumps(when, option=orjson.OPT_UTC_Z)[1:24].decode()}Z"
    return _whole_seconds(when)


@lru_cache(maxsize=4096)
def _whole_seconds(when: datetime) -> str:
    return orjson.dumps(when, option=orjson.OPT_UTC_Z)[1:-1].decode()
