"""Who may ask, how often, and what browsers are told: one layer around everything the server answers.

- On the loopback address everybody on this machine may ask, as long as there are no keys
  (:mod:`serving.access.keys`). Any setting by which others reach the server demands keys: the server does not start
  without.
- What a key opens is in one table, :data:`serving.access.roles.ROUTES`; what is in no row of it is closed.
- A token comes as ``Authorization: Bearer TOKEN``, or as the password of HTTP's basic authentication, which browsers
  ask for by themselves; or somebody has signed in (:mod:`serving.access.openid_connect`).
- A page of another site can make a visitor's browser ask this server by a name that it points here (DNS rebinding), so
  only addresses and known names are answered, but for probes; and what changes something is taken from our own pages
  only, and has its row in table ``audit`` before it is done (:mod:`serving.access.audit`).
"""

from __future__ import annotations

import base64
import binascii
import socket
from collections.abc import Callable, Iterable
from http import HTTPStatus
from ipaddress import ip_address
from time import perf_counter
from typing import Any
from urllib.parse import quote

from starlette.middleware.cors import CORSMiddleware
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from features.errors import EnvironmentProblem
from serving.access.audit import Audit, Deed, object_of
from serving.access.keys import LOCAL_USER, NOBODY, Keys, Who, came_by_a_proxy
from serving.access.rate_limits import Buckets, client_of
from serving.access.roles import PROBES, Role, RouteAccess, route_access
from serving.access.sessions import person_of
from serving.responses.problems import RETRY_SECONDS, problem, server_error
from settings import Settings

EVENTS = "/events"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
REFUSALS = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
"""Refused for who asks, not for how."""

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


class Guard:
    """The layer itself, plain ASGI. ``observe`` is told of every answer."""

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        keys: Keys,
        audit: Audit,
        buckets: Buckets,
        observe: Observe | None = None,
    ) -> None:
        limits = settings.serving
        self._app = app
        self._keys, self._audit = keys, audit
        self._signs_in = None if settings.oidc.issuer is None else str(settings.oidc.url).rstrip("/")
        self._takes_events_of_all = settings.collector.public
        self._pages = {name.lower() for name in limits.allowed_hosts}
        self._names = known_names(limits.host, limits.allowed_hosts)
        self._known_hosts: set[bytes] = set()
        self._buckets = buckets
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status, is_done = perf_counter(), 0, False
        access = self._access(scope)

        async def answered(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _complete(message)
            await send(message)

        try:
            refused = self._refused(scope, access)
            if refused is not None and refused.status_code in REFUSALS:
                self._audit.note(self._deed(scope, access, f"refused {refused.status_code}"))
            elif refused is None and access.role is Role.ANALYST:
                refused = await self._kept(self._deed(scope, access, "allowed"))
                is_done = refused is None
            await (self._app if refused is None else refused)(scope, receive, answered)
        except Exception as error:  # the framework's own answer would come from outside of this layer: without headers
            answer = server_error(scope, error)
            if status:
                raise  # half an answer is out: the connection ends
            await answer(scope, receive, answered)
        finally:
            if is_done and status >= HTTPStatus.BAD_REQUEST:
                self._audit.note(self._deed(scope, access, f"failed {status}"))
            if self._observe is not None:
                self._observe(scope, status, perf_counter() - began)

    def _access(self, scope: Scope) -> RouteAccess:
        """What the request asks for; a browser's question whether it may send events asks for nothing."""
        access = route_access(scope["method"], scope["path"])
        is_preflight = scope["path"] == EVENTS and scope["method"] == "OPTIONS"
        is_free = is_preflight or (access.role is Role.SENDER and self._takes_events_of_all)
        return access._replace(role=Role.PUBLIC) if is_free else access

    def _refused(self, scope: Scope, access: RouteAccess) -> Response | None:
        """The answer to a request that is not let through; else ``scope["who"]`` says who asks."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        path, method = scope["path"], scope["method"]
        host = headers.get(b"host", b"")
        if path not in PROBES and host not in self._known_hosts and not self._is_known(host):
            return problem(
                HTTPStatus.MISDIRECTED_REQUEST,
                "The server does not know the name it is asked by: use an address, or add it to serving.allowed_hosts.",
            )
        if path != EVENTS and path not in PROBES:
            client = scope["client"]
            seconds = self._buckets.take(client_of(client[0] if client else ""), 1)
            if seconds:
                detail = f"More than {self._buckets.rate:g} requests per second from one address. Ask again later."
                return problem(HTTPStatus.TOO_MANY_REQUESTS, detail, retry_after=seconds)
        who = self._who(scope, headers)
        scope["who"] = who or NOBODY
        if access.role not in scope["who"].may:
            return self._closed(scope, headers, access, who)
        if method not in SAFE_METHODS and path != EVENTS and not self._is_of_ours(headers, host):
            return problem(HTTPStatus.FORBIDDEN, "Pages of another site, or of another port, may not send this.")
        return None

    def _who(self, scope: Scope, headers: dict[bytes, bytes]) -> Who | None:
        """Who asks; None: nobody known."""
        if not self._keys.is_demanded:
            return None if came_by_a_proxy(headers) else LOCAL_USER
        if b"authorization" in headers:
            return self._keys.who(_token_in(headers[b"authorization"]))
        return None if self._signs_in is None else person_of(scope.get("session", {}))

    def _closed(self, scope: Scope, headers: dict[bytes, bytes], access: RouteAccess, who: Who | None) -> Response:
        """Why the request is not for this one."""
        if who is not None:
            needs = f"needs the role {access.role}" if access.route else "is for the key that may all"
            return problem(
                HTTPStatus.FORBIDDEN,
                f"{scope['method']} {access.route or 'of this path'} {needs}; "
                f"you are {who.signed_in_as or who.name}, who may not.",
            )
        if not self._keys.is_demanded:
            detail = (
                "The request came by a proxy, so others than this machine's users can reach the server, and it has no "
                "keys: set BEHAVIOR_API_TOKEN, and name the proxy in serving.trusted_proxies."
            )
            return problem(HTTPStatus.FORBIDDEN, detail)
        if self._signs_in is None:
            return _unauthorized('Basic realm="User behaviour", charset="UTF-8"')
        is_look = scope["method"] == "GET" and headers.get(b"sec-fetch-mode", b"navigate") == b"navigate"
        if is_look and b"text/html" in headers.get(b"accept", b"") and b"authorization" not in headers:
            query = scope["query_string"].decode("latin-1")
            target = scope["raw_path"].decode("latin-1") + (f"?{query}" if query else "")
            return RedirectResponse(f"{self._signs_in}/sign-in?to={quote(target, safe='/')}", HTTPStatus.SEE_OTHER)
        return _unauthorized('Bearer realm="User behaviour"')

    def _deed(self, scope: Scope, access: RouteAccess, outcome: str) -> Deed:
        client = scope["client"]
        return Deed(
            who=scope.get("who", NOBODY).name,
            role=access.role.value,
            action="another path" if access.route is None else f"{scope['method']} {access.route}",
            outcome=outcome,
            object=object_of(access.names),
            client=self._audit.client(client[0] if client else ""),
        )

    async def _kept(self, deed: Deed) -> Response | None:
        try:
            await self._audit.keep(deed)
        except EnvironmentProblem as reason:
            detail = f"Nothing was done, since it could not be written to the audit: {reason}"
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, retry_after=RETRY_SECONDS)
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


def _unauthorized(challenge: str) -> Response:
    detail = "Needed: the header Authorization: Bearer TOKEN, or the token as a password (any name)."
    answer = problem(HTTPStatus.UNAUTHORIZED, detail)
    answer.headers["WWW-Authenticate"] = challenge
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
            allow_headers=["Content-Type", "Content-Encoding"],
            allow_credentials=True,  # a beacon always sends them, and is held back where they are not allowed
            expose_headers=["Retry-After"],
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_for_events = scope["type"] == "http" and scope["path"] == EVENTS
        await (self._cors if is_for_events else self._app)(scope, receive, send)
