"""``GET /patterns``: the newest mined day's frequent paths, segments and steps from page to page."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from http import HTTPStatus
from typing import Annotated, Any

import pyarrow.compute as pc
from fastapi import APIRouter, Query
from fastapi.responses import Response

from features.tables import PATTERN_DAYS, PATTERNS, SEGMENTS, TRANSITIONS
from lake.reader import LakeReader
from serving.responses.orjson_response import OrjsonResponse
from serving.responses.problems import ProblemError
from serving.routes import openapi
from serving.services import Services

Limit = Annotated[int, Query(ge=1, le=1000, description="paths, and steps, at most")]
Day = Annotated[date, Query(description="a UTC day; the newest mined one when left out")]
LEFT_OUT = ("page_kinds",)


def router(services: Services) -> APIRouter:
    routes = APIRouter(tags=["patterns"])

    @routes.get("/patterns", **openapi.PATTERNS)
    async def patterns(limit: Limit = 50, day: Day | None = None) -> Response:
        """Patterns in plain words, the most frequent first; segments of sessions and of users; significant steps."""
        mined = await services.lake.run(mined_patterns, services.lake, limit, day)
        if mined is None:
            which = f"{day} was not mined" if day else "No day was mined yet"
            raise ProblemError(HTTPStatus.NOT_FOUND, f"{which}: run python -m jobs.mine_patterns.")
        return OrjsonResponse(mined)

    return routes


def mined_patterns(lake: LakeReader, limit: int, day: date | None) -> dict[str, Any] | None:
    """What was found on the day; None where it was not mined. Blocks."""
    since = lake.newest_time(PATTERN_DAYS) if day is None else datetime.combine(day, time(), UTC)
    if since is None or since.year > 9000:
        return None
    until = since + timedelta(days=1)
    about = lake.rows(PATTERN_DAYS, since=since, until=until).to_pylist()
    if not about:
        return None
    paths = lake.rows(PATTERNS, since=since, until=until).sort_by([("sessions", "descending")])
    segments = lake.rows(SEGMENTS, since=since, until=until).sort_by([("unit", "ascending"), ("share", "descending")])
    steps = lake.rows(TRANSITIONS, since=since, until=until, where=pc.field("is_significant"))
    return {
        **{name: value for name, value in about[-1].items() if name not in LEFT_OUT},
        "patterns": paths.slice(0, limit).drop_columns(["day"]).to_pylist(),
        "segments": segments.drop_columns(["day", "centre"]).to_pylist(),
        "transitions": steps.sort_by([("sessions", "descending")]).slice(0, limit).drop_columns(["day"]).to_pylist(),
    }
