"""Days as people type them."""

from __future__ import annotations

from datetime import UTC, datetime

from features.errors import UsageError


def parsed_day(text: str, option: str) -> datetime:
    """The start of a UTC day from the command line.

    Raises:
        UsageError: it is none.
    """
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise UsageError(f"{option} {text!r} is no day; needed: year, month and day, for example 2026-03-01.") from None
