"""Labelled behaviour, simulated: people and programs on a site, as events of the contract. No input, no output.

``simulate`` gives events in order of event time, ``labels`` who is strange. Labels are never part of an event::

    scenario = Scenario(start=datetime.now(UTC), rate=500, duration=timedelta(minutes=2))
    for event in simulate(scenario): ...

``simulate_columns`` gives the same behaviour as numpy columns, for large histories and benchmarks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NotRequired, TypedDict

import numpy as np

from simulation.context import Contexts
from simulation.engine import Columns, Stream, moments, population_size
from simulation.population import PLATFORMS, populate
from simulation.scenario import Scenario
from simulation.sites import SITES

__all__ = ["SITES", "Columns", "Event", "Label", "Scenario", "labels", "simulate", "simulate_columns"]


class Event(TypedDict):
    """An event of the contract, ready to be encoded as JSON."""

    user_id: str
    action: str
    page: str
    timestamp: str
    event_id: str
    session_id: NotRequired[str]
    sent_at: str
    properties: dict[str, str]
    ip: NotRequired[str]
    user_agent: NotRequired[str]
    device_id: NotRequired[str]
    country: NotRequired[str]
    outcome: NotRequired[str]


@dataclass(frozen=True)
class Label:
    """What is known of a user. ``since`` is the moment of a take-over; None: from the beginning, or never strange.

    An account that would be taken over only after the scenario's end is not anomalous in it.
    """

    user_id: str
    persona: str
    is_anomalous: bool
    since: datetime | None = None


def labels(scenario: Scenario) -> list[Label]:
    """One row for every user of the scenario, whether or not the user acts in it."""
    population = populate(population_size(scenario), scenario.seed, scenario.shares, scenario.place)
    when = moments(scenario, population)
    origin = datetime.fromtimestamp(round(scenario.start.timestamp() * 1000) / 1000, UTC)
    rows = []
    for name, code, moment in zip(population.names, population.persona.tolist(), when.tolist(), strict=True):
        persona = scenario.place.personas[code]
        if persona.role != "victim":
            rows.append(Label(name, persona.name, persona.is_anomalous))
        elif math.isfinite(moment):
            rows.append(Label(name, persona.name, True, origin + timedelta(milliseconds=round(moment * 1000))))
        else:
            rows.append(Label(name, persona.name, False))
    return rows


def simulate_columns(scenario: Scenario) -> tuple[list[str], Iterator[Columns]]:
    """The user ids by number, and batches of events as columns in order of event time."""
    stream = Stream(scenario)
    return stream.population.names, stream.columns()


def simulate(scenario: Scenario) -> Iterator[Event]:
    """Events in order of event time; endless if the scenario is. The properties of a user are one shared dict."""
    stream = Stream(scenario)
    names, pages, actions = stream.population.names, stream.site.pages, stream.site.actions
    apps = [{"app": PLATFORMS[code]} for code in stream.population.platform.tolist()]
    contexts = Contexts(stream.population, stream.site, scenario.seed)
    ids = np.random.default_rng([scenario.seed, stream.origin, 2])
    for columns in stream.columns():
        size = len(columns)
        drawn = ids.bytes(16 * size).hex()
        delays = np.minimum(ids.lognormal(np.log(40.0), 0.8, size), 60_000).astype(np.int64)
        rows = zip(
            columns.user.tolist(),
            columns.action.tolist(),
            columns.page.tolist(),
            columns.session.tolist(),
            _iso(columns.millis),
            _iso(columns.millis + delays),
            range(0, 32 * size, 32),
            contexts.of(columns),
            contexts.outcomes(columns),
            strict=True,
        )
        for user, action, page, session, timestamp, sent_at, at, place, outcome in rows:
            event: Event = {
                "user_id": names[user],
                "action": actions[action],
                "page": pages[page],
                "timestamp": timestamp,
                "event_id": _uuid(drawn[at : at + 32]),
                "sent_at": sent_at,
                "properties": apps[user],
            }
            if session:
                event["session_id"] = f"{session:016x}"
            if place:
                event.update(place)
            if outcome:
                event["outcome"] = outcome
            yield event


def _iso(millis: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[str]:
    """ISO-8601 in UTC with milliseconds and a Z."""
    texts: Any = np.datetime_as_string(millis.astype("datetime64[ms]"), unit="ms", timezone="UTC")
    listed: list[str] = texts.tolist()
    return listed


def _uuid(drawn: str) -> str:
    """32 hex digits in the form of a random UUID (RFC 9562, version 4)."""
    return f"{drawn[:8]}-{drawn[8:12]}-4{drawn[13:16]}-a{drawn[17:20]}-{drawn[20:]}"
