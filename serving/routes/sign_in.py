"""``/sign-in`` and ``/sign-out``: where people come to sign in to the page, and out of it.

No token of the provider is kept: what it says of a person becomes a role, a name and an end in the session
(:mod:`serving.access.sessions`).
"""

from __future__ import annotations

import time
from http import HTTPStatus

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from serving.access.audit import Audit, Deed
from serving.access.openid_connect import MAX_NAME, Provider, RefusedSignInError, name_of, role_of
from serving.access.roles import Role
from serving.access.sessions import person_of
from serving.page.parts import environment
from settings import OidcSettings

MAX_PATH = 1000
"""Characters of a page's path and query."""


def router(settings: OidcSettings, audit: Audit) -> APIRouter:
    """The routes; only where there is a provider."""
    routes = APIRouter(include_in_schema=False)
    sign_in = SignIn(settings, audit)
    routes.add_api_route("/sign-in", sign_in.sign_in)
    routes.add_api_route("/sign-in/back", sign_in.back)
    routes.add_api_route("/sign-out", sign_in.sign_out, methods=["POST"])
    routes.add_api_route("/signed-out", sign_in.signed_out)
    return routes


class SignIn:
    """Where people come to sign in and out."""

    def __init__(self, settings: OidcSettings, audit: Audit) -> None:
        self._settings, self._audit = settings, audit
        self._own = str(settings.url).rstrip("/")
        self._provider = Provider(settings, f"{self._own}/sign-in/back")
        self._notice = environment().get_template("notice.html")

    async def sign_in(self, request: Request, to: str = "/") -> Response:
        """To the provider; ``to``: the page that is wanted, for the way back."""
        request.session["to"] = to if to.startswith("/") and len(to) < MAX_PATH else "/"
        return await self._provider.redirect(request)

    async def back(self, request: Request) -> Response:
        """From the provider, with its word or without."""
        to = request.session.get("to", "/")
        try:
            claims = await self._provider.claims(request)
        except RefusedSignInError as reason:
            self._note(request, "nobody", Role.READER, "refused 400")
            return self._page("Not signed in", str(reason), "Try again", status=HTTPStatus.BAD_REQUEST)
        role, subject = role_of(claims, self._settings), str(claims["sub"])[:MAX_NAME]
        request.session.clear()
        if role is None:
            self._note(request, subject, Role.READER, "refused 403")
            text = f"{name_of(claims)} has no role here: ask for one of those in oidc.readers or oidc.analysts."
            return self._page("No role", text, "Sign in as somebody else", status=HTTPStatus.FORBIDDEN)
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
            return self._page("Signed out", text, "Sign in again")
        return self._page("Signed out", text, "Sign out of the provider, too", end)

    def _note(self, request: Request, who: str, role: Role, outcome: str) -> None:
        client = self._audit.client(request.client.host if request.client else "")
        self._audit.note(Deed(who, role, f"{request.method} {request.url.path}", outcome, client=client))

    def _page(
        self, title: str, text: str, link_text: str, link: str | None = None, status: HTTPStatus = HTTPStatus.OK
    ) -> Response:
        link = link or f"{self._own}/"
        return HTMLResponse(self._notice.render(title=title, text=text, link=link, link_text=link_text), status)
