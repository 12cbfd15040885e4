"""Signing in to the page with OpenID Connect: the authorization code flow with PKCE, by authlib.

No token of the provider is kept: what it says of a person becomes a role, a name and an end in the session
(:mod:`serving.sessions`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, cast

import httpx
from authlib.common.errors import AuthlibBaseError
from authlib.common.urls import add_params_to_uri
from authlib.integrations.starlette_client import OAuth
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from joserfc.errors import JoseError

from features.errors import BehaviorError, EnvironmentProblem
from jobs.runtime.settings import OidcSettings
from serving.audit import Audit, Deed
from serving.page.parts import environment
from serving.problems import problem
from serving.roles import Role
from serving.sessions import client_secret, person_of

PROVIDER_SECONDS = 10.0
LONGEST_NAME, LONGEST_WAY = 200, 1000


class RefusedSignInError(BehaviorError):
    """The provider, or its answer, lets nobody in."""


def role_of(claims: Mapping[str, Any], settings: OidcSettings) -> Role | None:
    """The role that the provider's claims give; the higher of two; None: nobody decided to let this person in."""
    found = set(values_at(claims, settings.role_claim))
    for role, wanted in ((Role.ANALYST, settings.analysts), (Role.READER, settings.readers)):
        if found & set(wanted):
            return role
    return None


def name_of(claims: Mapping[str, Any]) -> str:
    """What people call whom the provider speaks of."""
    names = (claims.get(one) for one in ("preferred_username", "email", "name"))
    return next((one for one in names if isinstance(one, str) and one), str(claims["sub"]))[:LONGEST_NAME]


def values_at(claims: Mapping[str, Any], name: str) -> list[str]:
    """The texts of a claim, which may be one or several, and lie in others: ``realm_access.roles``."""
    found: Any = claims.get(name)
    if found is None and "." in name:
        found = claims
        for part in name.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
    return [one for one in (found if isinstance(found, list) else [found]) if isinstance(one, str)]


def router(settings: OidcSettings, audit: Audit) -> APIRouter:
    """The routes; only where there is a provider."""
    routes = APIRouter(include_in_schema=False)
    desk = Desk(settings, audit)
    routes.add_api_route("/sign-in", desk.sign_in)
    routes.add_api_route("/sign-in/back", desk.back)
    routes.add_api_route("/sign-out", desk.sign_out, methods=["POST"])
    routes.add_api_route("/signed-out", desk.signed_out)
    return routes


class Desk:
    """Where people come to sign in and out."""

    def __init__(self, settings: OidcSettings, audit: Audit) -> None:
        self._settings, self._audit = settings, audit
        self._own = str(settings.url).rstrip("/")
        self._provider = Provider(settings, f"{self._own}/sign-in/back")
        self._notice = environment().get_template("notice.html")

    async def sign_in(self, request: Request, to: str = "/") -> Response:
        """To the provider; ``to``: the page that is wanted, for the way back."""
        request.session["to"] = to if to.startswith("/") and len(to) < LONGEST_WAY else "/"
        try:
            return await self._provider.asked(request)
        except EnvironmentProblem as reason:
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, str(reason), retry_after=5)

    async def back(self, request: Request) -> Response:
        """From the provider, with its word or without."""
        to = request.session.get("to", "/")
        try:
            claims = await self._provider.claims(request)
        except EnvironmentProblem as reason:
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, str(reason), retry_after=5)
        except RefusedSignInError as reason:
            self._note(request, "nobody", Role.READER, "refused 400")
            return self._told("Not signed in", str(reason), "Try again", status=HTTPStatus.BAD_REQUEST)
        role, subject = role_of(claims, self._settings), str(claims["sub"])[:LONGEST_NAME]
        request.session.clear()
        if role is None:
            self._note(request, subject, Role.READER, "refused 403")
            text = f"{name_of(claims)} has no role here: ask for one of those in oidc.readers or oidc.analysts."
            return self._told("No role", text, "Sign in as somebody else", status=HTTPStatus.FORBIDDEN)
        until = time.time() + 60 * self._settings.session_minutes
        person = {"subject": subject, "name": name_of(claims), "role": role.value, "until": until}
        request.session["person"] = person
        self._note(request, subject, role, "signed in")
        return RedirectResponse(self._own + to, HTTPStatus.SEE_OTHER)

    async def sign_out(self, request: Request) -> Response:
        """End the session of this browser."""
        who = person_of(request.session)
        if who is not None:
            self._note(request, who.name, Role.READER, "signed out")
        request.session.clear()
        return RedirectResponse(f"{self._own}/signed-out", HTTPStatus.SEE_OTHER)

    async def signed_out(self) -> Response:
        """What is left to do."""
        text = "You are signed out of this page. The provider may still know you, and sign you in again without a word."
        end = await self._provider.end_of_session()
        if end is None:
            return self._told("Signed out", text, "Sign in again")
        return self._told("Signed out", text, "Sign out of the provider, too", end)

    def _note(self, request: Request, who: str, role: Role, outcome: str) -> None:
        client = self._audit.client(request.client.host if request.client else "")
        self._audit.note(Deed(who, role, f"{request.method} {request.url.path}", outcome, client=client))

    def _told(
        self, title: str, text: str, link_text: str, link: str | None = None, status: HTTPStatus = HTTPStatus.OK
    ) -> Response:
        link = link or f"{self._own}/"
        return HTMLResponse(self._notice.render(title=title, text=text, link=link, link_text=link_text), status)


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

    async def asked(self, request: Request) -> Response:
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
            found: dict[str, Any] = await self._app.load_server_metadata()
        except (httpx.HTTPError, ValueError) as error:
            raise self._away(error) from error
        if str(found.get("issuer", "")).rstrip("/") != self._issuer:
            raise EnvironmentProblem("The provider calls itself by another name than oidc.issuer: correct the setting.")
        return found

    def _away(self, error: Exception) -> EnvironmentProblem:
        return EnvironmentProblem(
            f"The provider {self._issuer} does not answer as OpenID Connect asks ({type(error).__name__}): nobody can "
            "sign in until it does. Keys open the page meanwhile."
        )
