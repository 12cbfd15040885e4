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
from jobs.runtime.settings import OidcSettings
from serving.keys import SHORTEST, Who
from serving.roles import MAY, Role


def client_secret(settings: OidcSettings) -> str:
    """The client's secret.

    Raises:
        ConfigurationError: there is none, or it is too short to sign sessions with.
    """
    secret = settings.client_secret.get_secret_value() if settings.client_secret else ""
    if len(secret) < SHORTEST:
        found = f"it has {len(secret)} characters" if secret else "it is not set"
        raise ConfigurationError(
            f"oidc.issuer is set, which needs the client's secret of at least {SHORTEST} characters in the environment "
            f"variable BEHAVIOR_OIDC__CLIENT_SECRET: {found}."
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
    found = session.get("person")
    if found is None or time.time() >= found["until"]:
        return None
    return Who(found["subject"], MAY[Role(found["role"])], found["name"])
