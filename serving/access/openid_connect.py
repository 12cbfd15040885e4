"""The provider by which people sign in, with OpenID Connect: the authorization code flow with PKCE, by authlib."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import httpx
from authlib.common.errors import AuthlibBaseError
from authlib.common.urls import add_params_to_uri
from authlib.integrations.starlette_client import OAuth
from fastapi import Request
from fastapi.responses import Response
from joserfc.errors import JoseError

from features.errors import BehaviorError, EnvironmentProblem
from serving.access.roles import Role
from serving.access.sessions import client_secret
from settings import OidcSettings

PROVIDER_SECONDS = 10.0
MAX_NAME = 200
"""Characters of a name."""


class RefusedSignInError(BehaviorError):
    """The provider, or its answer, lets nobody in."""


def role_of(claims: Mapping[str, Any], settings: OidcSettings) -> Role | None:
    """The role that the provider's claims give; the higher of two; None: nobody decided to let this person in."""
    values = set(values_at(claims, settings.role_claim))
    for role, groups in ((Role.ANALYST, settings.analysts), (Role.READER, settings.readers)):
        if values & set(groups):
            return role
    return None


def name_of(claims: Mapping[str, Any]) -> str:
    """What people call whom the provider speaks of."""
    names = (claims.get(one) for one in ("preferred_username", "email", "name"))
    return next((one for one in names if isinstance(one, str) and one), str(claims["sub"]))[:MAX_NAME]


def values_at(claims: Mapping[str, Any], name: str) -> list[str]:
    """The texts of a claim, which may be one or several, and lie in others: ``realm_access.roles``."""
    claim: Any = claims.get(name)
    if claim is None and "." in name:
        claim = claims
        for part in name.split("."):
            claim = claim.get(part) if isinstance(claim, Mapping) else None
    return [one for one in (claim if isinstance(claim, list) else [claim]) if isinstance(one, str)]


class Provider:
    """The provider, as its discovery document describes it; asked when somebody signs in, and not before."""

    def __init__(self, settings: OidcSettings, back: str) -> None:
        assert settings.issuer is not None
        self._issuer, self._back, self._client_id = settings.issuer.rstrip("/"), back, settings.client_id
        self._claim = settings.role_claim
        self._app: Any = OAuth().register(
            "provider",
            client_id=settings.client_id,
            client_secret=client_secret(settings),
            server_metadata_url=f"{self._issuer}/.well-known/openid-configuration",
            client_kwargs={
                "scope": " ".join(settings.scopes),
                "code_challenge_method": "S256",
                "timeout": PROVIDER_SECONDS,
            },
        )

    async def redirect(self, request: Request) -> Response:
        """The way to the provider.

        Raises:
            EnvironmentProblem: it does not answer, or is another one than ``oidc.issuer`` says.
        """
        await self._metadata()
        return cast("Response", await self._app.authorize_redirect(request, self._back))

    async def claims(self, request: Request) -> dict[str, Any]:
        """What the provider says of the person who came back from it: its token is checked, as are state and nonce.

        Raises:
            EnvironmentProblem: it does not answer.
            RefusedSignInError: nobody was let in, and why.
        """
        metadata = await self._metadata()
        try:
            token = await self._app.authorize_access_token(request)
            claims = dict(token.get("userinfo") or {})
            if "sub" not in claims:
                raise RefusedSignInError("The provider sent no token that says who you are.")
            if not values_at(claims, self._claim) and "userinfo_endpoint" in metadata:
                more = await self._app.userinfo(token=token)
                if more.get("sub") == claims["sub"]:
                    claims = {**more, **claims}
        except httpx.HTTPError as error:
            raise self._away(error) from error
        except (AuthlibBaseError, JoseError, ValueError) as error:
            why = getattr(error, "description", "") or getattr(error, "error", "") or type(error).__name__
            raise RefusedSignInError(f"The sign-in was not finished: {str(why)[:200].rstrip('.')}.") from error
        return claims

    async def end_of_session(self) -> str | None:
        """Where the provider's own session is ended; None where it has no such place, or does not answer."""
        try:
            place = (await self._metadata()).get("end_session_endpoint")
        except EnvironmentProblem:
            return None
        return None if place is None else str(add_params_to_uri(place, [("client_id", str(self._client_id))]))

    async def _metadata(self) -> dict[str, Any]:
        try:
            metadata: dict[str, Any] = await self._app.load_server_metadata()
        except (httpx.HTTPError, ValueError) as error:
            raise self._away(error) from error
        if str(metadata.get("issuer", "")).rstrip("/") != self._issuer:
            raise EnvironmentProblem("The provider calls itself by another name than oidc.issuer: correct the setting.")
        return metadata

    def _away(self, error: Exception) -> EnvironmentProblem:
        return EnvironmentProblem(
            f"The provider {self._issuer} does not answer as OpenID Connect asks ({type(error).__name__}): nobody can "
            "sign in until it does. Keys open the page meanwhile."
        )
