"""Streams of events as Arrow has them, and the slow, literal way to count a funnel of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from features.tables import EVENTS, FEATURE_TABLE, SCORES
from journeys.acts import Acts
from journeys.definitions import Funnel
from lake.schemas import arrow_schema

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
GAP = timedelta(minutes=30)
Session = tuple[str, datetime]


@dataclass(frozen=True)
class Event:
    """One event; ``offset`` says in which order they came."""

    user: str
    action: str
    page: str
    at: datetime
    offset: int
    outcome: str | None = None


def acts_of(events: Sequence[Event], flagged: Iterable[Session] = ()) -> Acts:
    """The tables: sessions are of minutes less than half an hour apart, and each row has two revisions."""
    starts = sessions_of(events)
    flagged, minutes, verdicts = set(flagged), [], []
    for (user, minute), start in starts.items():
        own = {"user_id": user, "window_start": minute}
        wrong = own | {"session_start": NOON - timedelta(days=9), "batch_time": NOON, "batch_id": "a"}
        right = own | {"session_start": start, "batch_time": NOON, "batch_id": "b"}
        verdict = "anomaly" if (user, start) in flagged else "normal"
        minutes += [wrong, right]
        verdicts += [wrong | {"verdict": "anomaly"}, right | {"verdict": verdict}]
    return Acts(
        _table(EVENTS, [_row(event) for event in events]),
        _table(FEATURE_TABLE, minutes),
        _table(SCORES, verdicts),
    )


def sessions_of(events: Iterable[Event]) -> dict[tuple[str, datetime], datetime]:
    """For each user's minute the start of its session."""
    starts: dict[tuple[str, datetime], datetime] = {}
    before: tuple[str, datetime] | None = None
    for user, minute in sorted({(event.user, event.at.replace(second=0, microsecond=0)) for event in events}):
        goes_on = before is not None and before[0] == user and minute - before[1] < GAP
        starts[user, minute] = starts[before] if goes_on and before is not None else minute
        before = (user, minute)
    return starts


def in_turn(events: Iterable[Event]) -> dict[str, list[Event]]:
    """Each user's events in their order."""
    by_user: dict[str, list[Event]] = {}
    for event in sorted(events, key=lambda one: (one.at, one.offset)):
        by_user.setdefault(event.user, []).append(event)
    return by_user


def tried(events: Sequence[Event], funnel: Funnel) -> dict[str, list[list[Event]]]:
    """Each user's tries, by the definition and nothing else: the events that are their steps."""
    starts = sessions_of(events)

    def session(event: Event) -> datetime:
        return starts[event.user, event.at.replace(second=0, microsecond=0)]

    def in_time(first: Event, event: Event) -> bool:
        if funnel.within is None:
            return session(event) == session(first)
        return event.at - first.at <= funnel.within

    found: dict[str, list[list[Event]]] = {}
    for user, own in in_turn(events).items():
        for place, first in enumerate(own):
            if not funnel.steps[0].fits(first.action, first.page, first.outcome):
                continue
            steps, rest = [first], own[place + 1 :]
            for step in funnel.steps[1:]:
                fitting = [n for n, event in enumerate(rest) if step.fits(event.action, event.page, event.outcome)]
                if not fitting or not in_time(first, rest[fitting[0]]):
                    break
                steps.append(rest[fitting[0]])
                rest = rest[fitting[0] + 1 :]
            found.setdefault(user, []).append(steps)
    return found


def done(events: Sequence[Event], funnel: Funnel) -> dict[str, int]:
    """In any order: how many different steps each user did in one window."""
    starts = sessions_of(events)
    most: dict[str, int] = {}
    for user, own in in_turn(events).items():
        for first in own:
            if funnel.within is None:
                start = starts[user, first.at.replace(second=0, microsecond=0)]
                near = [e for e in own if starts[user, e.at.replace(second=0, microsecond=0)] == start]
            else:
                near = [e for e in own if first.at <= e.at <= first.at + funnel.within]
            steps = {step.name for step in funnel.steps for e in near if step.fits(e.action, e.page, e.outcome)}
            most[user] = max(most.get(user, 0), len(steps))
    return {user: number for user, number in most.items() if number}


def _row(event: Event) -> dict[str, object]:
    own = {"user_id": event.user, "action": event.action, "page": event.page, "timestamp": event.at}
    return own | {"outcome": event.outcome, "topic": "t", "partition": 0, "offset": event.offset}


def _table(table: object, rows: list[dict[str, object]]) -> pa.Table:
    schema = arrow_schema(table)  # type: ignore[arg-type]
    return pa.Table.from_pylist(rows, schema=schema)
