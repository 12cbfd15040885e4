"""Sessions of people who have signed in: a cookie, and nothing on the server.

The cookie is signed with the client's secret: HttpOnly, SameSite=Lax, and Secure where ``oidc.url`` is https. It says
who signed in, the role, and until when. Signing out ends the session in this browser; a copy of the cookie would open
the page until its time is over, and another client secret ends all sessions.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from starlette.middleware.sessions import SessionMiddleware
from starlette.types import ASGIApp

from features.errors import ConfigurationError
from serving.access.keys import MIN_TOKEN, Who
from serving.access.roles import MAY, Role
from settings import OidcSettings


def client_secret(settings: OidcSettings) -> str:
    """The client's secret.

    Raises:
        ConfigurationError: there is none, or it is too short to sign sessions with.
    """
    secret = settings.client_secret.get_secret_value() if settings.client_secret else ""
    if len(secret) < MIN_TOKEN:
        why = f"it has {len(secret)} characters" if secret else "it is not set"
        raise ConfigurationError(
            f"oidc.issuer is set, which needs the client's secret of at least {MIN_TOKEN} characters in the "
            f"environment variable BEHAVIOR_OIDC__CLIENT_SECRET: {why}."
        )
    return secret


class Sessions(SessionMiddleware):
    """The cookie: signed, and for browsers only."""

    def __init__(self, app: ASGIApp, settings: OidcSettings) -> None:
        is_https = str(settings.url).startswith("https://")
        super().__init__(
            app,
            secret_key=f"session {client_secret(settings)}",
            session_cookie="__Host-behavior" if is_https else "behavior",
            max_age=60 * settings.session_minutes,
            same_site="lax",
            https_only=is_https,
        )


def person_of(session: Mapping[str, Any]) -> Who | None:
    """Who has signed in; None where nobody has, or not lately enough."""
    person = session.get("person")
    if person is None or time.time() >= person["until"]:
        return None
    return Who(person["subject"], MAY[Role(person["role"])], person["name"])
