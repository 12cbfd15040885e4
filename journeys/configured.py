"""Funnels as the settings have them, and the tables they are counted in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from features.errors import UsageError
from features.tables import EVENTS, PATTERN_DAYS
from journeys.definitions import Funnel, Step
from lake.reader import LakeReader
from patterns.pages import NOTHING_KNOWN, PageKinds
from settings import JourneySettings

ONE_DAY = timedelta(days=1)


def funnel_of(settings: JourneySettings, name: str) -> Funnel:
    """A funnel by its name in ``journeys.funnels``.

    Raises:
        UsageError: there is none of that name, or it makes no sense.
    """
    chosen = settings.funnels.get(name)
    if chosen is None:
        known = ", ".join(sorted(settings.funnels)) or "none"
        raise UsageError(f"Funnel {name!r}: found none of that name in journeys.funnels; there are: {known}.")
    steps = [
        Step(step.name or _name(step.action, step.page, step.outcome), step.action, step.page, step.outcome)
        for step in chosen.steps
    ]
    within = None if chosen.within_minutes is None else timedelta(minutes=chosen.within_minutes)
    return Funnel(name, tuple(steps), within, chosen.in_order)


def _name(*conditions: tuple[str, ...]) -> str:
    return " ".join("|".join(alternatives) for alternatives in conditions if alternatives)


def newest_days(lake: LakeReader, days: int, now: datetime) -> tuple[datetime, datetime] | None:
    """The newest ``days`` (UTC) up to the newest event, and not beyond ``now``; None where there are no events."""
    newest = lake.newest_time(EVENTS)
    if newest is None:
        return None
    until = min(newest + timedelta(milliseconds=1), now)  # statistics are cut to milliseconds
    today = until.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today - (days - 1) * ONE_DAY, until


def known_kinds(lake: LakeReader) -> PageKinds:
    """Kinds of pages as the newest mined day has them."""
    newest = lake.newest_time(PATTERN_DAYS)
    if newest is None:
        return NOTHING_KNOWN
    rows = lake.rows(PATTERN_DAYS, since=newest, columns=["day", "page_kinds"]).to_pylist()
    return PageKinds(tuple(rows[-1]["page_kinds"])) if rows else NOTHING_KNOWN
