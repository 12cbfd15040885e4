"""Answers that say what is wrong: problem details for HTTP (RFC 9457), never a trace."""

from __future__ import annotations

import logging
import math
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import Scope

log = logging.getLogger(__name__)

LONGEST_PATH = 200
"""Characters of what was asked that are repeated."""


def problem(status: HTTPStatus, detail: str, *, retry_after: float | None = None, **members: object) -> Response:
    """The answer; ``retry_after`` are seconds, told as a whole number; ``members`` come on top of RFC 9457's own."""
    headers = None if retry_after is None else {"Retry-After": str(max(1, math.ceil(retry_after)))}
    content = {"title": status.phrase, "status": int(status), "detail": detail, **members}
    return JSONResponse(content, status, headers, media_type="application/problem+json")


def mistake(scope: Scope, error: Exception) -> Response:
    """The answer to a request that failed by our fault. The log gets the trace, and of the path only its route."""
    log.error("%s %s failed", scope["method"], route_of(scope), exc_info=error)
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "The server made a mistake, which its log explains.")


def route_of(scope: Scope) -> str:
    """The route of a request as it is declared, ``/users/{user_id}``: a path may name a person, and a log keeps it."""
    return str(getattr(scope.get("route"), "path", "other"))


def answer_with_problems(app: FastAPI) -> None:
    """Errors of the framework are answered in the same form; our own mistakes are, too, by :mod:`serving.security`."""

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        path = request.url.path if len(request.url.path) <= LONGEST_PATH else f"{request.url.path[:LONGEST_PATH]}…"
        answer = problem(HTTPStatus(error.status_code), f"{request.method} {path}: {error.detail}.")
        answer.headers.update(error.headers or {})
        return answer

    async def wrong_parameters(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        faults = [
            {"field": str(one["loc"][-1])[:60], "reason": one["type"], "detail": one["msg"][:200]}
            for one in error.errors()[:20]
        ]
        told = "; ".join(f"{one['field']}: {one['detail']}" for one in faults)
        return problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"{told}.", errors=faults)

    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(RequestValidationError, wrong_parameters)
