"""``GET /funnels``, ``GET /funnels/{name}`` and ``GET /retention``: where people go, and who comes back."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import Response

from journeys import funnels
from journeys.acts import BEGINNING, Traffic, acts_in
from journeys.configured import Span, funnel_of, known_kinds, span_of
from journeys.retention import retention
from serving.responses.orjson_response import OrjsonResponse
from serving.responses.problems import ProblemError
from serving.routes import openapi
from serving.services import Services

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
        return OrjsonResponse(await services.lake.run(_funnel, services, name, since, until, traffic))

    @routes.get("/retention", **openapi.RETENTION)
    async def returning(since: Since = None, until: Until = None, traffic: Sessions = "ordinary") -> Response:
        """Of the people first seen on a day, the share seen again later; and what people are, day by day."""
        return OrjsonResponse(await services.lake.run(_retention, services, since, until, traffic))

    return routes


def _funnel(services: Services, name: str, since: date | None, until: date | None, traffic: Traffic) -> dict[str, Any]:
    settings, lake = services.settings, services.lake
    span = _span(services, since, until)
    counted = funnels.count(
        acts_in(lake, *span, seconds=settings.serving.answer_seconds), funnel_of(settings.journeys, name), *span,
        traffic=traffic, kinds=known_kinds(lake), least_users=settings.patterns.least_users,
    )  # fmt: skip
    return {
        "name": name,
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
