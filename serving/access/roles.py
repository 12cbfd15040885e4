"""Who may what: the role that each route asks for, in one table, and the routes that each key opens.

A route that is not in :data:`ROUTES` is for the one key that may all, until somebody decides: a test compares the table
with the app's routes.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from starlette.routing import compile_path


class Role(StrEnum):
    """What a route asks for."""

    PUBLIC = "public"
    """Nothing: the answer says no secret."""
    SENDER = "sender"
    """Hands events in."""
    READER = "reader"
    """Sees people, alerts, predictions, figures."""
    ANALYST = "analyst"
    """Changes what is learned, or what others are shown. Every such request is in table ``audit``."""
    ALL = "all"
    """What no other role has."""


MAY: dict[Role, frozenset[Role]] = {
    Role.SENDER: frozenset({Role.PUBLIC, Role.SENDER}),
    Role.READER: frozenset({Role.PUBLIC, Role.READER}),
    Role.ANALYST: frozenset({Role.PUBLIC, Role.READER, Role.ANALYST}),
    Role.ALL: frozenset(Role),
}
"""What the holder of a role's key may ask for."""

ROUTES: dict[tuple[str, str], Role] = {
    ("GET", "/health"): Role.PUBLIC,
    ("GET", "/healthz"): Role.PUBLIC,
    ("GET", "/ready"): Role.PUBLIC,
    ("GET", "/ready/collector"): Role.PUBLIC,
    ("GET", "/readyz"): Role.PUBLIC,
    ("GET", "/sign-in"): Role.PUBLIC,
    ("GET", "/sign-in/back"): Role.PUBLIC,
    ("GET", "/signed-out"): Role.PUBLIC,
    ("POST", "/sign-out"): Role.PUBLIC,
    ("POST", "/events"): Role.SENDER,
    ("GET", "/"): Role.READER,
    ("GET", "/timeline"): Role.READER,
    ("GET", "/journeys"): Role.READER,
    ("GET", "/journeys/{table}.csv"): Role.READER,
    ("GET", "/page/live"): Role.READER,
    ("GET", "/page/static/{name}"): Role.PUBLIC,
    ("GET", "/docs"): Role.READER,
    ("GET", "/docs/start.js"): Role.READER,
    ("GET", "/docs/swagger-ui.css"): Role.READER,
    ("GET", "/docs/swagger-ui-bundle.js"): Role.READER,
    ("GET", "/docs/favicon-32x32.png"): Role.READER,
    ("GET", "/openapi.json"): Role.READER,
    ("GET", "/metrics"): Role.READER,
    ("POST", "/predict_behavior"): Role.READER,
    ("POST", "/predict_behavior/batch"): Role.READER,
    ("GET", "/features"): Role.READER,
    ("GET", "/users/{user_id:path}"): Role.READER,
    ("POST", "/users/{user_id:path}/predict"): Role.READER,
    ("GET", "/identities"): Role.READER,
    ("GET", "/alerts"): Role.READER,
    ("POST", "/alerts/{alert_id}/feedback"): Role.ANALYST,
    ("GET", "/patterns"): Role.READER,
    ("GET", "/funnels"): Role.READER,
    ("GET", "/funnels/{name}"): Role.READER,
    ("GET", "/funnel"): Role.READER,
    ("GET", "/funnel/proposals"): Role.READER,
    ("GET", "/findings"): Role.READER,
    ("GET", "/flow"): Role.READER,
    ("GET", "/retention"): Role.READER,
}
"""The role of each route, by method and path as the route is declared. HEAD and OPTIONS ask for what GET does."""

PROBES = frozenset({"/health", "/healthz", "/ready", "/ready/collector", "/readyz"})
"""Asked by machines that know neither a key nor the server's name, and must be answered always."""


class RouteAccess(NamedTuple):
    """What a request asks for: the role, and the route as it is declared (None: no such route)."""

    role: Role
    route: str | None
    names: dict[str, str]
    """The parts of the path that the route leaves open."""


_TEMPLATES = [(method, compile_path(path)[0], path, role) for (method, path), role in ROUTES.items() if "{" in path]


def route_access(method: str, path: str) -> RouteAccess:
    """The role that a request needs, by method and path."""
    declared = "GET" if method in ("HEAD", "OPTIONS") else method
    exact = ROUTES.get((declared, path))
    if exact is not None:
        return RouteAccess(exact, path, {})
    for of_method, pattern, route, role in _TEMPLATES:
        match = pattern.match(path) if of_method == declared else None
        if match:
            return RouteAccess(role, route, match.groupdict())
    return RouteAccess(Role.ALL, None, {})
