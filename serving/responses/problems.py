"""Answers that say what is wrong: problem details for HTTP (RFC 9457), never a trace.

Routes raise; :func:`answer_with_problems` says once what each error is answered with. Our own mistakes are answered by
:mod:`serving.access.security`, outside of the framework.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from http import HTTPStatus
from typing import TypedDict

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import Scope

from features.errors import EnvironmentProblem, UsageError
from kafka.async_producer import QueueFullError

log = logging.getLogger(__name__)

MAX_PATH = 200
"""Characters of a path that are repeated."""
RETRY_SECONDS = 5
"""After which to ask again, where something that the server needs is away."""


class FieldFault(TypedDict):
    """What is wrong with one field of a request."""

    field: str
    reason: str
    detail: str


class ProblemError(Exception):
    """The request is answered with a problem; the arguments are those of :func:`problem`."""

    def __init__(self, status: HTTPStatus, detail: str, *, retry_after: float | None = None, **members: object) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.retry_after = retry_after
        self.members = members


class InvalidFieldsError(ProblemError):
    """422 with every fault; the first one is also told in the sentence."""

    def __init__(self, faults: Sequence[FieldFault]) -> None:
        first = faults[0]
        more = f" There are {len(faults)} faults: errors has them." if len(faults) > 1 else ""
        super().__init__(
            HTTPStatus.UNPROCESSABLE_ENTITY, f"{first['field']}: {first['detail']}.{more}", errors=list(faults)
        )


def problem(status: HTTPStatus, detail: str, *, retry_after: float | None = None, **members: object) -> Response:
    """The answer; ``retry_after`` are seconds, told as a whole number; ``members`` come on top of RFC 9457's own."""
    headers = None if retry_after is None else {"Retry-After": str(max(1, math.ceil(retry_after)))}
    content = {"title": status.phrase, "status": int(status), "detail": detail, **members}
    return JSONResponse(content, status, headers, media_type="application/problem+json")


def server_error(scope: Scope, error: Exception) -> Response:
    """The answer to a request that failed by our fault. The log gets the trace, and of the path only its route."""
    log.error("%s %s failed", scope["method"], route_of(scope), exc_info=error)
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "The server made a mistake, which its log explains.")


def route_of(scope: Scope) -> str:
    """The route of a request as it is declared, ``/users/{user_id}``: a path may name a person, and a log keeps it."""
    return str(getattr(scope.get("route"), "path", "other"))


def answer_with_problems(app: FastAPI) -> None:
    """Answer errors of routes and of the framework with problem details."""

    @app.exception_handler(ProblemError)
    async def raised(_: Request, error: ProblemError) -> Response:
        return problem(error.status, error.detail, retry_after=error.retry_after, **error.members)

    @app.exception_handler(UsageError)
    async def unusable(_: Request, error: UsageError) -> Response:
        return problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))

    @app.exception_handler(QueueFullError)
    async def too_many_events(_: Request, error: QueueFullError) -> Response:
        return problem(HTTPStatus.TOO_MANY_REQUESTS, str(error), retry_after=1)

    @app.exception_handler(EnvironmentProblem)
    async def unavailable(_: Request, error: EnvironmentProblem) -> Response:
        return problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error), retry_after=RETRY_SECONDS)

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        path = request.url.path if len(request.url.path) <= MAX_PATH else f"{request.url.path[:MAX_PATH]}…"
        answer = problem(HTTPStatus(error.status_code), f"{request.method} {path}: {error.detail}.")
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(RequestValidationError)
    async def wrong_parameters(_: Request, error: RequestValidationError) -> Response:
        faults = [
            {"field": str(one["loc"][-1])[:60], "reason": one["type"], "detail": one["msg"][:200]}
            for one in error.errors()[:20]
        ]
        detail = "; ".join(f"{one['field']}: {one['detail']}" for one in faults)
        return problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"{detail}.", errors=faults)
