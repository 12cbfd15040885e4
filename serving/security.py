"""Who may ask, how often, and what browsers are told: one layer around everything the server answers.

- On the loopback address everybody on this machine may ask; with BEHAVIOR_API_TOKEN only those who know it. Any other
  address demands the token: the server does not start without.
- The token comes as ``Authorization: Bearer TOKEN``, or as the password of HTTP's basic authentication, which browsers
  ask for by themselves. It is compared in constant time.
- A page of another site can make a visitor's browser ask this server by a name that it points here (DNS rebinding), so
  only addresses and known names are answered; and what changes something is taken from our own pages only.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import socket
from collections.abc import Callable, Iterable
from http import HTTPStatus
from ipaddress import ip_address
from time import perf_counter
from typing import Any

from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from features.errors import ConfigurationError
from jobs.runtime.settings import Settings
from serving.limits import Buckets, client_of
from serving.problems import mistake, problem

EVENTS = "/events"
OPEN = ("/health", "/healthz")
"""Answered without the token: that the process is up is no secret."""
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
SHORTEST_TOKEN = 16

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}
"""Sent with every answer; one that sets such a header itself keeps its own."""
_PAIRS = [(name.encode(), value.encode()) for name, value in HEADERS.items()]

Observe = Callable[[Scope, int, float], None]
"""Told of every answer: what was asked, the status, and the seconds it took."""


def token_of(settings: Settings) -> bytes | None:
    """The token that is demanded; None where none is.

    Raises:
        ConfigurationError: the server would be reachable from outside without a token, or the token is too short.
    """
    host, secret = settings.serving.host, settings.api_token
    if secret is None:
        if not is_loopback(host):
            raise ConfigurationError(
                f"serving.host is {host}, which others can reach, and there is no token: set the environment variable "
                "BEHAVIOR_API_TOKEN to a long random text, or keep serving.host=127.0.0.1."
            )
        return None
    token = secret.get_secret_value().encode()
    if len(token) < SHORTEST_TOKEN:
        raise ConfigurationError(
            f"BEHAVIOR_API_TOKEN has {len(token)} bytes, needed: at least {SHORTEST_TOKEN}. Make one with "
            "python -c 'import secrets; print(secrets.token_urlsafe(32))'."
        )
    return token


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address; a name other than localhost may mean anything."""
    try:
        return ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class Guard:
    """The layer itself, plain ASGI. ``observe`` is told of every answer."""

    def __init__(self, app: ASGIApp, settings: Settings, observe: Observe | None = None) -> None:
        limits = settings.serving
        self._app = app
        self._token = token_of(settings)
        self._open = {*OPEN, EVENTS} if settings.collector.public else set(OPEN)
        self._pages = {name.lower() for name in limits.allowed_hosts}
        self._names = known_names(limits.host, limits.allowed_hosts)
        self._known_hosts: set[bytes] = set()
        self._buckets = Buckets(limits.rate_per_second, limits.burst)
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = perf_counter(), 0

        async def answered(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _complete(message)
            await send(message)

        try:
            refused = self._refused(scope)
            await (self._app if refused is None else refused)(scope, receive, answered)
        except Exception as error:  # the framework's own answer would come from outside of this layer: without headers
            answer = mistake(scope, error)
            if status:
                raise  # half an answer is out: the connection ends
            await answer(scope, receive, answered)
        finally:
            if self._observe is not None:
                self._observe(scope, status, perf_counter() - began)

    def _refused(self, scope: Scope) -> Response | None:
        """The answer to a request that is not let through."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        path, method = scope["path"], scope["method"]
        host = headers.get(b"host", b"")
        if host not in self._known_hosts and not self._is_known(host):
            return problem(
                HTTPStatus.MISDIRECTED_REQUEST,
                "The server does not know the name it is asked by: use an address, or add it to serving.allowed_hosts.",
            )
        if path != EVENTS and path not in OPEN:
            client = scope["client"]
            seconds = self._buckets.take(client_of(client[0] if client else ""), 1)
            if seconds:
                told = f"More than {self._buckets.rate:g} requests per second from one address. Ask again later."
                return problem(HTTPStatus.TOO_MANY_REQUESTS, told, retry_after=seconds)
        is_preflight = path == EVENTS and method == "OPTIONS"
        if self._token is not None and path not in self._open and not is_preflight:
            given = _token_in(headers.get(b"authorization", b""))
            if not hmac.compare_digest(given, self._token):
                return _unauthorized()
        if method not in SAFE_METHODS and path != EVENTS and not self._is_of_ours(headers, host):
            return problem(HTTPStatus.FORBIDDEN, "Pages of another site, or of another port, may not send this.")
        return None

    def _is_known(self, host: bytes) -> bool:
        name = host_name(host.decode("latin-1"))
        if name not in self._names and not _is_address(name):
            return False
        if len(self._known_hosts) < 100:
            self._known_hosts.add(host)
        return True

    def _is_of_ours(self, headers: dict[bytes, bytes], host: bytes) -> bool:
        """Whether no page sends this, or one of exactly our origin: name and port.

        Another port of this machine is another program, and its pages are another's. A proxy may ask by a name of its
        own, so pages of ``serving.allowed_hosts`` are ours, too.
        """
        if headers.get(b"sec-fetch-site", b"none") not in (b"none", b"same-origin"):
            return False
        origin = headers.get(b"origin")
        if origin is None:
            return True
        scheme, _, place = origin.decode("latin-1").lower().partition("://")
        return scheme in ("http", "https") and (place == host.decode("latin-1").lower() or place in self._pages)


LOCAL = {"localhost", "ip6-localhost"}


def known_names(host: str, allowed: Iterable[str]) -> set[str]:
    """The names that the server is asked by, in lower case. Addresses are taken anyway: no site points those here."""
    return {*LOCAL, host.lower(), socket.gethostname().lower(), *(name.lower() for name in allowed)}


def host_name(host: str) -> str:
    """The name in a Host header, in lower case, without port and brackets; empty where there is none."""
    name = host.partition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
    return name.lower().rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _token_in(authorization: bytes) -> bytes:
    kind, _, value = authorization.partition(b" ")
    if kind.lower() == b"bearer":
        return value.strip()
    if kind.lower() == b"basic":
        try:
            return base64.b64decode(value.strip(), validate=True).partition(b":")[2]
        except binascii.Error:
            return b""
    return b""


def _unauthorized() -> Response:
    told = "Needed: the header Authorization: Bearer TOKEN, or the token as a password (any name)."
    answer = problem(HTTPStatus.UNAUTHORIZED, told)
    answer.headers["WWW-Authenticate"] = 'Basic realm="User behaviour", charset="UTF-8"'
    return answer


def _complete(message: Message) -> None:
    headers: Any = message.setdefault("headers", [])
    there = {name for name, _ in headers}
    headers.extend(pair for pair in _PAIRS if pair[0] not in there)


class CorsOfEvents:
    """CORS for the collector alone: pages that may send events may read nothing else."""

    def __init__(self, app: ASGIApp, allowed_origins: tuple[str, ...]) -> None:
        self._app = app
        self._cors = CORSMiddleware(
            app,
            allow_origins=allowed_origins,
            allow_methods=["POST"],
            allow_headers=["Content-Type"],
            expose_headers=["Retry-After"],
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_for_events = scope["type"] == "http" and scope["path"] == EVENTS
        await (self._cors if is_for_events else self._app)(scope, receive, send)
