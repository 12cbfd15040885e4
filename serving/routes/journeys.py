"""Where people go, what they stumble over, and who comes back: funnels, proposals, findings, ways, retention."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import date, datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query
from fastapi.responses import Response

from journeys import funnels
from journeys.acts import BEGINNING, Acts, Traffic, acts_in
from journeys.configured import Span, ends_of, funnel_of, how_of, span_of
from journeys.definitions import Funnel, step_of
from journeys.findings import Finding, find
from journeys.flow import Flow, flow
from journeys.proposals import propose
from journeys.retention import retention
from serving.responses.orjson_response import OrjsonResponse
from serving.responses.problems import ProblemError
from serving.routes import openapi
from serving.services import Services

T = TypeVar("T")
Since = Annotated[date | None, Query(description="first UTC day; journeys.days before the newest event when left out")]
Until = Annotated[date | None, Query(description="last UTC day; that of the newest event when left out")]
Sessions = Annotated[Traffic, Query(description="sessions: without a flagged minute, with one, or all")]


def router(services: Services) -> APIRouter:
    routes = APIRouter(tags=["journeys"])
    known = services.settings.journeys.funnels

    @routes.get("/funnels", **openapi.FUNNELS)
    async def names() -> Response:
        """The funnels of conf (journeys.funnels)."""
        return OrjsonResponse({"funnels": [{"name": name, **known[name].model_dump()} for name in sorted(known)]})

    @routes.get("/funnels/{name}", **openapi.FUNNEL)
    async def funnel(name: str, since: Since = None, until: Until = None, traffic: Sessions = "ordinary") -> Response:
        """How many people take which step, how long that takes them, and where the others go."""
        if name not in known:
            there = ", ".join(sorted(known)) or "none"
            raise ProblemError(HTTPStatus.NOT_FOUND, f"No such funnel in journeys.funnels; there are: {there}.")
        chosen = funnel_of(services.settings.journeys, name)
        return OrjsonResponse(await services.lake.run(_funnel, services, chosen, since, until, traffic))

    @routes.get("/funnel", **openapi.FUNNEL)
    async def steps(
        step: Annotated[list[str], Query(description="ACTION, ACTION:PAGE or :PAGE; repeated")],
        within_minutes: Annotated[float | None, Query(gt=0, le=1e6)] = None,
        in_order: bool = True,
        since: Since = None,
        until: Until = None,
        traffic: Sessions = "ordinary",
    ) -> Response:
        """A funnel by its steps, in the same session where within_minutes is left out."""
        within = None if within_minutes is None else timedelta(minutes=within_minutes)
        chosen = Funnel("steps", tuple(map(step_of, step)), within, in_order)
        return OrjsonResponse(await services.lake.run(_funnel, services, chosen, since, until, traffic))

    @routes.get("/funnel/proposals", **openapi.PROPOSALS)
    async def proposals(since: Since = None, until: Until = None, traffic: Sessions = "ordinary") -> Response:
        """Funnels that the paths themselves propose: to acts that few people reach, late in a session."""
        found = await services.lake.run(_asked, services, propose, since, until, traffic)
        told = [
            {
                "name": funnel.name,
                "steps": [
                    {"name": one.name, "action": one.actions, "page": one.pages, "outcome": one.outcomes}
                    for one in funnel.steps
                ],
                "within_minutes": None,
                "in_order": funnel.in_order,
            }
            for funnel in found
        ]
        return OrjsonResponse({"funnels": told})

    @routes.get("/retention", **openapi.RETENTION)
    async def returning(since: Since = None, until: Until = None, traffic: Sessions = "ordinary") -> Response:
        """Of the people first seen on a day, the share seen again later; and what people are, day by day."""
        return OrjsonResponse(await services.lake.run(_retention, services, since, until, traffic))

    _add_ways(routes, services)
    return routes


def _add_ways(routes: APIRouter, services: Services) -> None:
    @routes.get("/findings", **openapi.FINDINGS)
    async def stumbles(since: Since = None, until: Until = None, traffic: Sessions = "ordinary") -> Response:
        """What people stumble over: haste in vain, going back and forth, pages that end sessions."""

        def meant(acts: Acts, *span: datetime, **how: Any) -> list[Finding]:
            ends = [
                *(funnel_of(services.settings.journeys, name) for name in services.settings.journeys.funnels),
                *propose(acts, *span, **how),
            ]
            return find(acts, *span, **how, meant=ends_of(ends))

        found = await services.lake.run(_asked, services, meant, since, until, traffic)
        return OrjsonResponse({"findings": [asdict(one) for one in found]})

    @routes.get("/flow", **openapi.FLOW)
    async def ways(
        kind: Annotated[str | None, Query(description="of page; the most visited one when left out")] = None,
        since: Since = None,
        until: Until = None,
        traffic: Sessions = "ordinary",
    ) -> Response:
        """Which kinds of pages come right before and after one."""

        def through(acts: Acts, *span: datetime, **how: Any) -> Flow:
            return flow(acts, kind, *span, **how)

        found = asdict(await services.lake.run(_asked, services, through, since, until, traffic))
        found["kinds"] = [{"kind": name, "visits": visits} for name, visits in found["kinds"]]
        return OrjsonResponse(found)


def _asked(services: Services, count: Callable[..., T], since: date | None, until: date | None, traffic: Traffic) -> T:
    """What ``count`` finds in the span, by the settings."""
    span = _span(services, since, until)
    acts = acts_in(services.lake, *span, seconds=services.settings.serving.answer_seconds)
    return count(acts, *span, **how_of(services.settings, services.lake, traffic))


def _funnel(
    services: Services, chosen: Funnel, since: date | None, until: date | None, traffic: Traffic
) -> dict[str, Any]:
    span = _span(services, since, until)
    acts = acts_in(services.lake, *span, seconds=services.settings.serving.answer_seconds)
    counted = funnels.count(acts, chosen, *span, **how_of(services.settings, services.lake, traffic))
    return {
        "name": chosen.name,
        **_told(span, traffic),
        "steps": [asdict(step) for step in counted.steps],
        "days": [{"day": day, "people": list(people)} for day, people in counted.days.items()],
        "exits": [asdict(way) for way in counted.exits],
    }


def _retention(services: Services, since: date | None, until: date | None, traffic: Traffic) -> dict[str, Any]:
    span = _span(services, since, until)
    everything = acts_in(services.lake, BEGINNING, span[1], seconds=services.settings.serving.answer_seconds)
    found = retention(everything, BEGINNING, *span, traffic=traffic)
    return {
        **_told(span, traffic),
        "through": found.through,
        "cohorts": [
            {
                "day": cohort.day,
                "people": cohort.people,
                "again": [
                    {"after_days": age, "on_that_day": share, "since_that_day": cohort.since[age]}
                    for age, share in cohort.on.items()
                ],
            }
            for cohort in found.cohorts
        ],
        "days": [asdict(day) for day in found.days],
    }


def _span(services: Services, since: date | None, until: date | None) -> Span:
    """What is asked for.

    Raises:
        ProblemError: there are no events.
    """
    span = span_of(services.lake, services.settings.journeys.days, since, until)
    if span is None:
        raise ProblemError(HTTPStatus.NOT_FOUND, "Table events has no rows yet: nobody went anywhere.")
    return span


def _told(span: Span, traffic: Traffic) -> dict[str, Any]:
    return {"since": span[0], "until": span[1], "traffic": traffic}
