"""Connections: what they may cost before there is a whole request, how long they may take, and how many one has.

uvicorn waits without end for the rest of a request, and counts neither headers nor addresses. Here

- a connection without a whole request ends after a while, however it was used before, and so does one whose answer is
  not read. Only while the server itself is at work on a request has the client no time to keep;
- what the parser holds back, headers, chunks, and requests that come behind each other are counted;
- an address has so many connections, and all together have so many. One above a limit is *spare*: it is asked for the
  signs of life and nothing else, shortly; of these the oldest ends where there are too many.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection
from http import HTTPStatus
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import _TrustedHosts
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from serving.access.rate_limits import client_of
from serving.access.roles import PROBES
from serving.responses.problems import problem
from settings import ServingSettings

MAX_HEAD_BYTES = 131_072
"""A request line with headers; and what the parser may hold back anywhere else."""
MAX_HEADERS = 100
MAX_PARAMETERS = 50
"""Of a query."""
MAX_RANGES = 10
"""Of a file, in one answer."""
FEW_CHUNKS, MIN_CHUNK_BYTES = 1_000, 64
"""So many chunks may be small; more must have so many bytes on average."""
MAX_PIPELINED = 16
MAX_SPARE = 256
SPARE_SECONDS = 1.0
MIN_READ_BYTES = 10_240
"""Of an answer that the client's machine has no room for, in the time of a request."""
CLOSING_SECONDS = 1.0
"""Beyond a deadline, for an answer that says so to be sent."""


class Connections:
    """All open connections of a server."""

    def __init__(self, limits: ServingSettings, body_seconds: float) -> None:
        self.most = limits.max_connections
        self.most_of_one = limits.max_connections_per_address
        self.head_seconds = limits.read_seconds
        self.body_seconds = body_seconds
        self._is_proxy = _TrustedHosts(list(limits.trusted_proxies))
        self._of: Counter[str] = Counter()
        self._spare: dict[Limited, None] = {}

    def admit(self, connection: Limited, host: str) -> str | None:
        """The client whom the connection is counted for; None where it is spare."""
        client = "" if host in self._is_proxy else client_of(host)
        if self._of.total() < self.most and (not client or self._of[client] < self.most_of_one):
            self._of[client] += 1
            return client
        self._spare[connection] = None
        if len(self._spare) > MAX_SPARE:
            next(iter(self._spare)).abort()
        return None

    def forget(self, connection: Limited, client: str | None) -> None:
        """It has ended."""
        if client is None:
            self._spare.pop(connection, None)
            return
        self._of[client] -= 1
        if not self._of[client]:
            del self._of[client]


class RefusedConnectionError(Exception):
    """What came is no request that is read on; the parser stops at it, and the client is answered 400."""


class Limited(HttpToolsProtocol):
    """uvicorn's protocol within limits; made by :func:`limited`."""

    all: Connections
    _client: str | None = None
    _ends: asyncio.TimerHandle | None = None
    _drains: asyncio.TimerHandle | None = None
    _answered: RequestResponseCycle | None = None
    _is_whole = True
    """Whether all of the request was read that was begun last."""
    _head = _held = _body = _chunks = _unread = 0

    # --- deadlines ---

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._client = self.all.admit(self, self.client[0] if self.client else "")
        if self._client is None:
            self.app = only_signs_of_life(self.app)
        self._wait(self.all.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answered is not None:  # of requests behind each other, uvicorn tells the last one only
            self._answered.disconnected = True
        self._cancel()
        self._stop_watching()
        self.all.forget(self, self._client)
        super().connection_lost(exc)

    def _wait(self, seconds: float) -> None:
        """From now on the client has so long to finish its request."""
        self._cancel()
        self._ends = self.loop.call_later(SPARE_SECONDS if self._client is None else seconds, self._end)

    def _cancel(self) -> None:
        if self._ends is not None:
            self._ends.cancel()
            self._ends = None

    def _end(self) -> None:
        """Close; and where what was written last cannot be sent, give it up after a moment."""
        self._cancel()
        self.transport.close()
        self._ends = self.loop.call_later(CLOSING_SECONDS, self.abort)

    def abort(self) -> None:
        """End now; what is being answered goes nowhere, and is not to be written to a closed connection."""
        if self._answered is not None:
            self._answered.disconnected = True
        self.transport.abort()

    def timeout_keep_alive_handler(self) -> None:
        self._end()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.transport.get_write_buffer_size()
        self._drains = self.loop.call_later(self.all.head_seconds, self._drained)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_watching()

    def _stop_watching(self) -> None:
        if self._drains is not None:
            self._drains.cancel()
            self._drains = None

    def _drained(self) -> None:
        """Go on with a client that reads slowly, and end one that does not read."""
        left = self.transport.get_write_buffer_size()
        if left > self._unread - MIN_READ_BYTES:
            self.abort()
            return
        self._unread = left
        self._drains = self.loop.call_later(self.all.head_seconds, self._drained)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answered = cycle
        super()._start_asgi_task(cycle, app)

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    # --- what comes ---

    def data_received(self, data: bytes) -> None:
        self._held += len(data)
        super().data_received(data)
        if self._held > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def _refuse(self, status: HTTPStatus) -> None:
        self.transport.write(STATUS_LINE[status] + b"connection: close\r\ncontent-length: 0\r\n\r\n")
        self._end()

    def send_400_response(self, msg: str) -> None:
        super().send_400_response(msg)
        self._end()

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= MAX_PIPELINED:
            raise RefusedConnectionError
        super().on_message_begin()
        self._is_whole = False
        self._head = self._held = self._body = self._chunks = 0
        if not self._is_answering:
            self._wait(self.all.head_seconds)

    def on_url(self, url: bytes) -> None:
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_head(len(name) + len(value))
        too_many_ranges = name.lower() == b"range" and value.count(b",") >= MAX_RANGES
        if len(self.headers) >= MAX_HEADERS or too_many_ranges:
            raise RefusedConnectionError
        super().on_header(name, value)

    def _count_head(self, size: int) -> None:
        self._head += size
        self._held = 0
        if self._head > MAX_HEAD_BYTES:
            raise RefusedConnectionError

    def on_headers_complete(self) -> None:
        if self.url.count(b"&") > MAX_PARAMETERS:
            raise RefusedConnectionError
        is_next = not self._is_answering
        super().on_headers_complete()
        if is_next:
            self._wait(self.all.body_seconds + CLOSING_SECONDS)

    def on_body(self, body: bytes) -> None:
        self._held = 0
        self._chunks += 1
        self._body += len(body)
        if self._chunks > FEW_CHUNKS + self._body // MIN_CHUNK_BYTES:
            raise RefusedConnectionError
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._is_whole = True
        self._held = 0
        self._cancel()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self._end()
        elif not self._is_whole:  # of this request or the next: whose time runs already, runs on
            if self._ends is None:
                self._wait(self.all.body_seconds + CLOSING_SECONDS)
        elif not self._is_answering:
            self._wait(self.all.head_seconds)


def limited(all_of_them: Connections) -> type[HttpToolsProtocol]:
    """The protocol of a server with these connections."""
    return type("LimitedHere", (Limited,), {"all": all_of_them})


def only_signs_of_life(app: ASGIApp, paths: Collection[str] = PROBES) -> ASGIApp:
    """The app for a connection above a limit."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def closing(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
            await send(message)

        if scope["path"] in paths:
            await app(scope, receive, closing)
            return
        detail = "Too many connections are open, of this address or of all. Close some, or ask again later."
        await problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, retry_after=1)(scope, receive, closing)

    return answer
