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
from typing import Any, NamedTuple

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from starlette.requests import ClientDisconnect

from features.events import JudgingRules
from jobs.runtime.producer import MOST_RECORD_BYTES
from jobs.runtime.settings import CollectorSettings
from serving.beside import beside
from serving.bodies import ANY, LINES, MOST_BRACKETS, cut, is_too_nested, media_type
from serving.judging import Fault, Verdict, judge
from serving.limits import BYTES_OF_A_TOKEN, Buckets, client_of, tokens_of
from serving.outlet import Outlet, QueueFullError, Record
from serving.problems import problem

OVERHEAD = 1_000
"""Bytes that a record may take beyond its key and value."""
DRAINED_BYTES = 8_388_608
"""Read and dropped before 413 is answered: many clients write before they read."""


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
        paid = max(1, tokens_of(min(declared_size(request), limits.max_body_bytes)))
        charge(client, paid)  # before the body is read
        body = await body_of(request, limits.max_body_bytes, limits.read_seconds)
        of_bytes = max(paid, tokens_of(len(body)))
        charge(client, of_bytes - paid)
        texts = await beside(len(body), texts_of, body, media, limits.max_events)
        if not texts:
            return problem(HTTPStatus.BAD_REQUEST, "The request has no events.", accepted=0, rejected=0, errors=[])
        charge(client, len(texts) - of_bytes)
        judged = await beside(len(body), judge_all, texts, rules, clock())
        if not judged.good:
            return none_good(judged.errors)
        try:
            acknowledged = await outlet.send([record for _, record in judged.good])
        except QueueFullError:
            told = f"{outlet.in_flight} events wait for Kafka already: it is away or too slow. Send again later."
            return problem(HTTPStatus.TOO_MANY_REQUESTS, told, retry_after=1)
        return sent(judged, acknowledged, outlet.seconds)

    def charge(client: str, events: int) -> None:
        seconds = buckets.take(client, events) if events > 0 else 0
        if seconds:
            told = (
                f"More than {limits.rate_per_second:g} events, or {limits.rate_per_second * BYTES_OF_A_TOKEN:g} bytes, "
                "per second from one address. Send again later."
            )
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


def declared_size(request: Request) -> int:
    """Bytes of the body as its header says; 0 where it does not."""
    told = request.headers.get("content-length", "")
    return int(told) if told.isascii() and told.isdigit() and len(told) < 20 else 0


async def body_of(request: Request, longest: int, seconds: float) -> bytes:
    """The whole body, at most so many bytes, counted as they come: the server itself has no limit.

    Raises:
        RefusedError: it is longer, or takes longer than so many seconds.
    """
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            async for part in request.stream():
                size += len(part)
                if size <= longest:
                    parts.append(part)
                else:
                    parts.clear()
                    if size > max(longest, DRAINED_BYTES):
                        break
    except TimeoutError:
        told = f"The request did not arrive within {seconds:g} s."
        raise RefusedError(problem(HTTPStatus.REQUEST_TIMEOUT, told)) from None
    except ClientDisconnect:  # nobody is there to be answered
        raise RefusedError(problem(HTTPStatus.BAD_REQUEST, "The connection ended before the request.")) from None
    if size > longest:
        told = f"The body has more than {longest} bytes. Send smaller batches."
        raise RefusedError(problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, told))
    return b"".join(parts)


def texts_of(body: bytes, media: str, most: int) -> list[bytes]:
    """The texts of the events.

    Raises:
        RefusedError: there are more than ``most``, or the body has too many objects and arrays.
    """
    if is_too_nested(body):
        told = f"The body has more than {MOST_BRACKETS} objects and arrays. Send smaller batches."
        raise RefusedError(problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, told))
    texts = cut(body, media, most)
    if len(texts) > most:
        told = f"More than {most} events in one request. Send smaller batches."
        raise RefusedError(problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, told))
    return texts


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
