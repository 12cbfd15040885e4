"""``GET /identities``: which anonymous ids were linked to a user, since when, and whether their past counts as his."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from serving.linked_ids import links_with
from serving.responses.orjson_response import OrjsonResponse
from serving.routes import openapi
from serving.services import Services
from serving.user_ids import names_of

UserId = Annotated[str, Query(max_length=1000, description="a user id, or an anonymous one", examples=["user-123"])]


def router(services: Services) -> APIRouter:
    routes = APIRouter(tags=["users"])
    settings, lake = services.settings, services.lake

    @routes.get("/identities", **openapi.IDENTITIES)
    async def identities(user_id: UserId) -> Response:
        """The links of a user to the ids from before his logins, or of such an id to users, the newest first."""
        links = await lake.run(links_with, lake, names_of(user_id, settings))
        return OrjsonResponse({"user_id": user_id, "links": links})

    return routes
