"""``POST /events``: takes events from apps and web pages, says what is wrong with them, and puts the rest on Kafka.

What the answers mean
    202: every event was acknowledged by Kafka or is named in ``errors``, with its ``index`` in the request, ``reason``
    (the names of ``features.events.REASONS``), ``field`` and ``detail``. The good events of a mixed batch are sent:
    they are not held back for a bad one, and a beacon has nobody who could send them again. Sending a rejected event
    again is of no use, so the answer is a success for a client that looks at nothing but the status.
    400: no event was good; nothing was sent. 413: the body, the number of events or every single event is too large.
    429: the client sends too much, or too many events wait for Kafka; nothing was sent. 503: Kafka has not acknowledged
    the events of which ``unacknowledged`` has the indices; it may yet write them. After 429 and 503, send again after
    ``Retry-After`` seconds, with the same ``event_id``: then it counts once.
What is sent
    The event's own text, byte for byte, without the blanks around it. The key is the user id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, NamedTuple, Protocol

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from features.events import JudgingRules
from jobs.runtime.producer import MOST_RECORD_BYTES
from jobs.runtime.settings import CollectorSettings
from serving.bodies import ANY, LINES, cut, media_type
from serving.judging import Fault, Verdict, judge
from serving.limits import Buckets, client_of
from serving.outlet import Outlet, QueueFullError, Record
from serving.problems import problem

OVERHEAD = 1_000
"""Bytes that a record may take beyond its key and value."""
DRAINED = 8
"""So many times the longest body are read and dropped before 413 is answered: many clients write before they read."""


class RefusedError(Exception):
    """The request as a whole is not taken."""

    def __init__(self, answer: Response) -> None:
        self.answer = answer


class Judged(NamedTuple):
    """The events of a request: the good ones with their indices, and what is wrong with the others."""

    good: list[tuple[int, Record]]
    errors: list[dict[str, Any]]


def router(
    limits: CollectorSettings,
    rules: JudgingRules,
    outlet: Outlet,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> APIRouter:
    """The endpoint, with a rate limit of its own."""
    routes = APIRouter(tags=["collector"])
    buckets = Buckets(limits.rate_per_second, limits.burst)

    @routes.post(
        "/events",
        status_code=HTTPStatus.ACCEPTED,
        openapi_extra={"requestBody": {"required": True, "content": {media: {} for media in (*ANY[:2], *LINES)}}},
        responses={int(status): {"description": said} for status, said in ANSWERS.items()},
    )
    async def collect(request: Request) -> Response:
        """Put events on Kafka: one JSON object, an array of them, or one per line."""
        try:
            return await answer(request)
        except RefusedError as refused:
            return refused.answer

    async def answer(request: Request) -> Response:
        check_origin(request, limits)
        media = checked_media(request)
        client = client_of(request.client.host if request.client else "")
        charge(client, 1)  # before the body is read
        texts = cut(await body_of(request, limits), media)
        if not texts:
            return problem(HTTPStatus.BAD_REQUEST, "The request has no events.", accepted=0, rejected=0, errors=[])
        if len(texts) > limits.max_events:
            told = f"{len(texts)} events in one request; the limit is {limits.max_events}. Send smaller batches."
            return problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, told)
        charge(client, len(texts) - 1)
        judged = await asyncio.to_thread(judge_all, texts, rules, clock())
        if not judged.good:
            return none_good(judged.errors)
        try:
            acknowledged = await outlet.send([record for _, record in judged.good])
        except QueueFullError:
            told = f"{outlet.in_flight} events wait for Kafka already: it is away or too slow. Send again later."
            return problem(HTTPStatus.TOO_MANY_REQUESTS, told, retry_after=1)
        return sent(judged, acknowledged, outlet.seconds)

    def charge(client: str, events: int) -> None:
        seconds = buckets.take(client, events) if events else 0
        if seconds:
            told = f"More than {limits.rate_per_second:g} events per second from one address. Send again later."
            raise RefusedError(problem(HTTPStatus.TOO_MANY_REQUESTS, told, retry_after=seconds))

    return routes


ANSWERS = {
    HTTPStatus.ACCEPTED: "Kafka has the events; those with errors were left out",
    HTTPStatus.BAD_REQUEST: "No event was good",
    HTTPStatus.FORBIDDEN: "The page's origin is not in collector.allowed_origins",
    HTTPStatus.REQUEST_TIMEOUT: "The request did not arrive in time",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body, the number of events or every event is too large",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The body is packed, or of a type that is not JSON",
    HTTPStatus.TOO_MANY_REQUESTS: "Send again after Retry-After seconds",
    HTTPStatus.SERVICE_UNAVAILABLE: "Kafka has not acknowledged; send again after Retry-After seconds",
}


def check_origin(request: Request, limits: CollectorSettings) -> None:
    """A browser sends text/plain from any page without asking first: so that pages are held off here, too."""
    origin = request.headers.get("origin")
    if origin is not None and not {origin, "*"} & set(limits.allowed_origins):
        told = "Pages of this origin may not send events: add it to collector.allowed_origins."
        raise RefusedError(problem(HTTPStatus.FORBIDDEN, told))


def checked_media(request: Request) -> str:
    media = media_type(request.headers.get("content-type", ""))
    if media not in (*ANY, *LINES):
        told = f"A body of type {media[:100]} is not taken; send application/json, text/plain or {LINES[0]}."
        raise RefusedError(problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, told))
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise RefusedError(problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "A packed body is not taken; send it unpacked."))
    return media


class Bounds(Protocol):
    """How long a body may be, in bytes, and how long it may take."""

    @property
    def max_body_bytes(self) -> int: ...

    @property
    def read_seconds(self) -> float: ...


async def body_of(request: Request, limits: Bounds) -> bytes:
    """The whole body, counted as it comes: the server itself has no limit."""
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(limits.read_seconds):
            async for part in request.stream():
                size += len(part)
                if size <= limits.max_body_bytes:
                    parts.append(part)
                else:
                    parts.clear()
                    if size > DRAINED * limits.max_body_bytes:
                        break
    except TimeoutError:
        told = f"The request did not arrive within {limits.read_seconds:g} s."
        raise RefusedError(problem(HTTPStatus.REQUEST_TIMEOUT, told)) from None
    if size > limits.max_body_bytes:
        told = f"The body has more than {limits.max_body_bytes} bytes. Send smaller batches."
        raise RefusedError(problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, told))
    return b"".join(parts)


def judge_all(texts: list[bytes], rules: JudgingRules, now: datetime) -> Judged:
    judged = Judged([], [])
    for index, text in enumerate(texts):
        verdict = fitting(text, judge(text, rules, now))
        if verdict.fault is None:
            judged.good.append((index, (verdict.user_id.encode(), text)))
        else:
            judged.errors.append({"index": index, **verdict.fault._asdict()})
    return judged


def fitting(text: bytes, verdict: Verdict) -> Verdict:
    """An event that ingest would take may still be too long for Kafka, which counts the key as well."""
    size = len(text) + len(verdict.user_id.encode()) + OVERHEAD
    if verdict.fault is None and size > MOST_RECORD_BYTES:
        return Verdict(Fault("too_large", None, f"{size} bytes with its key; Kafka takes {MOST_RECORD_BYTES}"))
    return verdict


def none_good(errors: list[dict[str, Any]]) -> Response:
    are_too_large = all(error["reason"] == "too_large" for error in errors)
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE if are_too_large else HTTPStatus.BAD_REQUEST
    told = "No event was taken: errors has the reasons."
    return problem(status, told, accepted=0, rejected=len(errors), errors=errors)


def sent(judged: Judged, acknowledged: list[bool], seconds: float) -> Response:
    waiting = [index for (index, _), has in zip(judged.good, acknowledged, strict=True) if not has]
    counts = {"accepted": sum(acknowledged), "rejected": len(judged.errors), "errors": judged.errors}
    if not waiting:
        return JSONResponse(counts, HTTPStatus.ACCEPTED)
    told = (
        f"Kafka has not acknowledged {len(waiting)} events within {seconds:g} s; it may yet write them. "
        "Send them again with the same event_id: then each counts once."
    )
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, told, retry_after=seconds, **counts, unacknowledged=waiting)
