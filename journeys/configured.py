"""Funnels as the settings have them, and the tables they are counted in."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from typing import TypedDict

from features.errors import UsageError
from features.tables import EVENTS, PATTERN_DAYS
from journeys.acts import BEGINNING, Traffic
from journeys.definitions import Funnel, Step
from lake.reader import LakeReader
from patterns.pages import NOTHING_KNOWN, PageKinds
from settings import JourneySettings, Settings

ONE_DAY = timedelta(days=1)
Span = tuple[datetime, datetime]


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


class How(TypedDict):
    """What all that is counted is told besides the span."""

    traffic: Traffic
    kinds: PageKinds
    least_users: int


def how_of(settings: Settings, lake: LakeReader, traffic: Traffic) -> How:
    """By the settings, and with the kinds of pages that are known now."""
    return {"traffic": traffic, "kinds": known_kinds(lake), "least_users": settings.patterns.least_users}


def ends_of(funnels: Iterable[Funnel]) -> set[str]:
    """The pages that funnels end on: where sessions are meant to end."""
    return {page for funnel in funnels for page in funnel.steps[-1].pages}


def span_of(lake: LakeReader, days: int, since: date | None, until: date | None) -> Span | None:
    """From the first moment that is asked for to the one after the last; None where there are no events.

    Args:
        days: so many are asked for, up to that of the newest event, where ``since`` does not say it.
        since, until: first and last day (UTC); as far as there are events, and not beyond now.

    Raises:
        UsageError: there is nothing between them.
    """
    newest = lake.newest_time(EVENTS)
    if newest is None:
        return None
    last = min(newest + timedelta(milliseconds=1), datetime.now(UTC)).astimezone(UTC)  # statistics are cut to ms
    first = _start(last.date()) - (days - 1) * ONE_DAY if since is None else max(_start(since), BEGINNING)
    if until is not None and until < last.date():
        last = _start(until) + ONE_DAY
    if first >= last:
        raise UsageError(
            f"Found no time between {first.date()} and {last.isoformat(timespec='minutes')}, the last that has events "
            "and is asked for; needed: an earlier since, or a later until."
        )
    return first, last


def _start(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def known_kinds(lake: LakeReader) -> PageKinds:
    """Kinds of pages as the newest mined day has them."""
    newest = lake.newest_time(PATTERN_DAYS)
    if newest is None:
        return NOTHING_KNOWN
    rows = lake.rows(PATTERN_DAYS, since=newest, columns=["day", "page_kinds"]).to_pylist()
    return PageKinds(tuple(rows[-1]["page_kinds"])) if rows else NOTHING_KNOWN
