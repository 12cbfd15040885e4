"""What each error that a route raises is answered with."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

import httpx
import pytest
from fastapi import FastAPI

from features.errors import EnvironmentProblem, ModelError, UsageError
from kafka.async_producer import QueueFullError
from serving.responses.problems import FieldFault, InvalidFieldsError, ProblemError, answer_with_problems

FAULTS = [FieldFault(field="a", reason="negative", detail="found -1; needed 0 or more")] * 2


@pytest.mark.parametrize(
    ("error", "status", "retry_after", "detail", "members"),
    [
        (ProblemError(HTTPStatus.CONFLICT, "Two."), 409, None, "Two.", {}),
        (
            ProblemError(HTTPStatus.TOO_MANY_REQUESTS, "M.", retry_after=1.2, rejected=3),
            429,
            "2",
            "M.",
            {"rejected": 3},
        ),
        (InvalidFieldsError(FAULTS[:1]), 422, None, "a: found -1; needed 0 or more.", {"errors": FAULTS[:1]}),
        (
            InvalidFieldsError(FAULTS),
            422,
            None,
            "a: found -1; needed 0 or more. There are 2 faults: errors has them.",
            {"errors": FAULTS},
        ),
        (UsageError("Too long."), 422, None, "Too long.", {}),
        (QueueFullError("9 events wait."), 429, "1", "9 events wait.", {}),
        (EnvironmentProblem("The lake is away."), 503, "5", "The lake is away.", {}),
    ],
)
def test_an_error_of_a_route_is_answered_with_a_problem(
    error: Exception, status: int, retry_after: str | None, detail: str, members: dict[str, object]
) -> None:
    answer = answer_to(error)
    assert (answer.status_code, answer.headers.get("Retry-After")) == (status, retry_after)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json() == {"title": HTTPStatus(status).phrase, "status": status, "detail": detail, **members}


def test_an_error_that_nobody_named_stays_a_mistake_of_ours() -> None:
    with pytest.raises(ModelError):
        answer_to(ModelError("damaged"))


def answer_to(error: Exception) -> httpx.Response:
    app = FastAPI()
    answer_with_problems(app)

    @app.get("/")
    async def route() -> None:
        raise error

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client:
            return await client.get("/")

    return asyncio.run(ask())
