"""The page's addresses: ``/``, ``/timeline`` and ``/journeys`` for people, ``/page/…`` for the page itself."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, Response
from sse_starlette import EventSourceResponse

from features.errors import UsageError
from serving.access.keys import Who
from serving.page.journeys import TABLES, Question, as_csv
from serving.page.live import MAX_CLIENTS, Live
from serving.page.timeline import SPANS
from serving.responses.problems import problem

KINDS = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}

User = Annotated[str, Query(max_length=32_768)]


def router(live: Live) -> APIRouter:
    """The page's routes; they are for people and are left out of the API's description.

    What may be loaded and by whom is said by :mod:`serving.access.security`, for these answers as for all: nothing from
    elsewhere, no script or style but the page's own files.
    """
    routes = APIRouter(include_in_schema=False)

    @routes.get("/")
    async def board(request: Request) -> Response:
        await live.fresh()
        parts = {name: part.html for name, part in live.parts.items()}
        return HTMLResponse(live.pages.board(parts, who(request)))

    @routes.get("/timeline")
    async def timeline(request: Request, user: User, hours: int = SPANS[1]) -> Response:
        loaded, line = await live.timeline(user, hours)
        story = await live.story(loaded)
        return HTMLResponse(live.pages.timeline(user, loaded.hours, line, story, who(request)))

    @routes.get("/page/live")
    async def stream(user: User | None = None, hours: int = SPANS[1]) -> Response:
        if live.clients >= MAX_CLIENTS:
            detail = f"{MAX_CLIENTS} pages are open already: close some, or load this one again later."
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, retry_after=30)
        followed = None if user is None else live.loaded(user, hours)
        return EventSourceResponse(live.follow(followed), ping=15, send_timeout=30)

    @routes.get("/page/static/{name}")
    async def static(name: str) -> Response:
        if name not in live.pages.static:
            return problem(HTTPStatus.NOT_FOUND, "There is no such file.")
        kept = {"Cache-Control": "public, max-age=86400"}
        kind = KINDS[name.rpartition(".")[2]]
        return Response(live.pages.static[name], media_type=f"{kind}; charset=utf-8", headers=kept)

    _add_journeys(routes, live)
    return routes


def _add_journeys(routes: APIRouter, live: Live) -> None:
    @routes.get("/journeys")
    async def journeys(request: Request) -> Response:
        question, problem = asked(request)
        view = await live.reader.run(live.journeys.view, question)
        status = HTTPStatus.OK if problem is None else HTTPStatus.UNPROCESSABLE_ENTITY
        return HTMLResponse(live.pages.journeys(view, who(request), problem), status)

    @routes.get("/journeys/{table}.csv")
    async def rows(request: Request, table: str) -> Response:
        question, trouble = asked(request)
        if table not in TABLES:
            return problem(HTTPStatus.NOT_FOUND, f"There is no such table; there are: {', '.join(TABLES)}.")
        if trouble is not None:
            return problem(HTTPStatus.UNPROCESSABLE_ENTITY, trouble)
        view = await live.reader.run(live.journeys.view, question)
        found = view.table(table)
        if found is None:
            why = view.trouble.get("span") or view.trouble.get(table) or "There is nothing to count yet."
            return problem(HTTPStatus.NOT_FOUND, why)
        kept_as = {"Content-Disposition": f'attachment; filename="{table}.csv"'}
        return Response(as_csv(found), media_type="text/csv; charset=utf-8", headers=kept_as)


def asked(request: Request) -> tuple[Question, str | None]:
    """What an address asks of journeys; where that makes no sense, nothing, and the sentence that says why."""
    try:
        return Question.of(request.query_params, request.query_params.getlist("step")), None
    except UsageError as problem:
        return Question(), str(problem)


def who(request: Request) -> Who:
    """Who looks, as :class:`serving.access.security.Guard` found."""
    viewer: Who = request.scope["who"]
    return viewer
