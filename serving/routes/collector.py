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
    The event's own text, byte for byte, without the blanks around it. The key is the user id. With
    ``collector.add_context`` the client's address and user agent are added at its end, where it has none of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, NamedTuple

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from features.context import MAX_AGENT
from features.errors import ConfigurationError
from features.events import MAPPING_HEADER, ValidationRules, micros_of
from features.validation import Event, Rejection
from features.verdicts import Source, verdicts_of
from kafka.async_producer import AsyncProducer, Record
from kafka.producer import MAX_RECORD_BYTES
from serving.access.keys import NOBODY
from serving.access.rate_limits import BYTES_OF_A_TOKEN, Buckets, client_of, tokens_of
from serving.off_loop import run_off_loop
from serving.requests.body import declared_size, read_body, unpacked
from serving.requests.event_texts import (
    ANY,
    CLOUD_EVENTS,
    LINES,
    event_texts,
    media_type_of_events,
    refuse_more_than,
)
from serving.responses.problems import ProblemError
from settings import CollectorSettings

MEDIA = (*ANY[:2], *LINES, *CLOUD_EVENTS)
OVERHEAD = 1_000
"""Bytes that a record may take beyond its key and value."""


ANSWERS = {
    HTTPStatus.ACCEPTED: "Kafka has the events; those with errors were left out",
    HTTPStatus.BAD_REQUEST: "No event was good",
    HTTPStatus.FORBIDDEN: "The page's origin is not in collector.allowed_origins",
    HTTPStatus.REQUEST_TIMEOUT: "The request did not arrive in time",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body, the number of events or every event is too large",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The body is packed otherwise than gzip, or of a type that is not JSON",
    HTTPStatus.TOO_MANY_REQUESTS: "Send again after Retry-After seconds",
    HTTPStatus.SERVICE_UNAVAILABLE: "Kafka has not acknowledged; send again after Retry-After seconds",
}


class Validated(NamedTuple):
    """The events of a request: the good ones with their indices, and what is wrong with the others."""

    good: list[tuple[int, Record]]
    errors: list[dict[str, Any]]

    @property
    def number(self) -> int:
        """Of all events."""
        return len(self.good) + len(self.errors)


def router(
    limits: CollectorSettings,
    rules: ValidationRules,
    producer: AsyncProducer,
    topic: str | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> APIRouter:
    """The endpoint, with a rate limit of its own.

    Events of other schemas are read as ingest reads the ``topic``, or by the mapping that the settings have for the key
    by which they come: then each record says so.

    Raises:
        ConfigurationError: there is no such mapping.
    """
    for name, mapping in limits.mappings.items():
        if mapping not in rules.mappings:
            known = ", ".join(rules.mappings) or "none"
            raise ConfigurationError(f"collector.mappings.{name} is {mapping!r}; ingest.mappings has {known}.")
    routes = APIRouter(tags=["collector"])
    buckets = Buckets(limits.rate_per_second, limits.burst)

    @routes.post(
        "/events",
        status_code=HTTPStatus.ACCEPTED,
        openapi_extra={"requestBody": {"required": True, "content": {media: {} for media in MEDIA}}},
        responses={int(status): {"description": description} for status, description in ANSWERS.items()},
    )
    async def collect(request: Request) -> Response:
        """Put events on Kafka: one JSON object, an array of them, or one per line."""
        check_origin(request, limits)
        media = media_type_of_events(request)
        client = client_of(request.client.host if request.client else "")
        paid = max(1, tokens_of(min(declared_size(request), limits.max_body_bytes)))
        charge(client, paid)  # before the body is read
        packed = await read_body(request, limits.max_body_bytes, limits.read_seconds)
        encoding = request.headers.get("content-encoding", "").strip().lower()
        body = await run_off_loop(len(packed), unpacked, packed, encoding, limits.max_body_bytes)
        of_bytes = max(paid, tokens_of(len(body)))
        charge(client, of_bytes - paid)
        texts = await run_off_loop(len(body), event_texts, body, media, limits.max_events)
        if not texts:
            raise ProblemError(HTTPStatus.BAD_REQUEST, "The request has no events.", accepted=0, rejected=0, errors=[])
        charge(client, len(texts) - of_bytes)
        context = context_of(request) if limits.add_context else {}
        own = limits.mappings.get(request.scope.get("who", NOBODY).name)
        validated = await run_off_loop(len(body), validate_all, texts, rules, clock(), context, own or topic)
        refuse_more_than(limits.max_events, validated.number)
        charge(client, validated.number - max(of_bytes, len(texts)))
        if not validated.good:
            raise none_good(validated.errors)
        headers = None if own is None else [(MAPPING_HEADER, own.encode())]
        acknowledged = await producer.send([record for _, record in validated.good], headers)
        return answer(validated, acknowledged, producer.seconds)

    def charge(client: str, events: int) -> None:
        seconds = buckets.take(client, events) if events > 0 else 0
        if seconds:
            detail = (
                f"More than {limits.rate_per_second:g} events, or {limits.rate_per_second * BYTES_OF_A_TOKEN:g} bytes, "
                "per second from one address. Send again later."
            )
            raise ProblemError(HTTPStatus.TOO_MANY_REQUESTS, detail, retry_after=seconds)

    return routes


def check_origin(request: Request, limits: CollectorSettings) -> None:
    """A browser sends text/plain from any page without asking first: so that pages are held off here, too."""
    origin = request.headers.get("origin")
    if origin is not None and not {origin, "*"} & set(limits.allowed_origins):
        detail = "Pages of this origin may not send events: add it to collector.allowed_origins."
        raise ProblemError(HTTPStatus.FORBIDDEN, detail)


def context_of(request: Request) -> dict[str, str]:
    """What the request tells of the context of its events."""
    agent = request.headers.get("user-agent", "")[:MAX_AGENT]
    address = request.client.host if request.client else ""
    return {name: text for name, text in (("ip", address), ("user_agent", agent)) if text}


def with_context(text: bytes, event: Event, context: Mapping[str, str]) -> bytes:
    """The event's text with what it does not say itself; no byte of its own is changed."""
    own = event.properties or {}
    lacking = {name: value for name, value in context.items() if name not in own}
    if not lacking:
        return text
    return text[: text.rindex(b"}")] + b"," + json.dumps(lacking, separators=(",", ":")).encode()[1:]


def validate_all(
    texts: list[bytes],
    rules: ValidationRules,
    now: datetime,
    context: Mapping[str, str] | None = None,
    topic: str | None = None,
) -> Validated:
    """Each text's event or what is wrong with it; events get the ``context`` that they lack.

    A text that holds several events (:mod:`features.schemas.batches`) stands for these: each is a record of its own.
    """
    validated, moment = Validated([], []), micros_of(now)
    found = [one for text in texts for one in verdicts_of(text, rules, moment, moment, Source(topic))]
    for index, (text, verdict) in enumerate(found):
        value = text
        if context and isinstance(verdict, Event):
            longer = with_context(text, verdict, context)
            value = longer if len(longer) <= rules.max_bytes else text
        record = fitting(value, verdict)
        if isinstance(record, Event):
            validated.good.append((index, (record.user_id.encode(), value)))
        else:
            validated.errors.append({"index": index, **record._asdict()})
    return validated


def fitting(text: bytes, record: Event | Rejection) -> Event | Rejection:
    """An event that ingest would take may still be too long for Kafka, which counts the key as well."""
    size = len(text) + len(record.user_id.encode()) + OVERHEAD if isinstance(record, Event) else 0
    if size > MAX_RECORD_BYTES:
        return Rejection("too_large", None, f"{size} bytes with its key; Kafka takes {MAX_RECORD_BYTES}")
    return record


def none_good(errors: list[dict[str, Any]]) -> ProblemError:
    are_too_large = all(error["reason"] == "too_large" for error in errors)
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE if are_too_large else HTTPStatus.BAD_REQUEST
    detail = "No event was taken: errors has the reasons."
    return ProblemError(status, detail, accepted=0, rejected=len(errors), errors=errors)


def answer(validated: Validated, acknowledged: list[bool], seconds: float) -> Response:
    """202 where Kafka has all good events.

    Raises:
        ProblemError: it has not acknowledged some within the seconds.
    """
    waiting = [index for (index, _), has in zip(validated.good, acknowledged, strict=True) if not has]
    counts = {"accepted": sum(acknowledged), "rejected": len(validated.errors), "errors": validated.errors}
    if not waiting:
        return JSONResponse(counts, HTTPStatus.ACCEPTED)
    detail = (
        f"Kafka has not acknowledged {len(waiting)} events within {seconds:g} s; it may yet write them. "
        "Send them again with the same event_id: then each counts once."
    )
    raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, detail, retry_after=seconds, **counts, unacknowledged=waiting)
