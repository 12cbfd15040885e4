"""Times from the command line."""

from __future__ import annotations

from datetime import UTC, datetime

from features.errors import UsageError


def minute(text: str | None, option: str) -> datetime | None:
    """A time from the command line, cut to its minute.

    Raises:
        UsageError: it is no time, or has no offset.
    """
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} {text!r} is no time; needed: for example 2026-03-01T00:00:00Z.") from None
    if time.tzinfo is None:
        raise UsageError(f"{option} {text!r} has no offset; needed: for example {text}Z.")
    return time.astimezone(UTC).replace(second=0, microsecond=0)


def time_range(since: str | None, until: str | None) -> tuple[datetime | None, datetime | None]:
    """``--since`` and ``--until``: the first minute taken, and the first one not taken.

    Raises:
        UsageError: one is no time, or they leave nothing between them.
    """
    first, last = minute(since, "--since"), minute(until, "--until")
    if first and last and first >= last:
        raise UsageError(f"--since {since} is not before --until {until}.")
    return first, last
