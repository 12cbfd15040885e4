"""``GET /healthz``: the process answers. ``GET /readyz``: it could do its work now, or the reason why not."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from features.errors import EnvironmentProblem
from serving.outlet import Outlet
from serving.problems import problem


def router(outlet: Outlet) -> APIRouter:
    routes = APIRouter(tags=["health"])

    @routes.get("/healthz")
    async def health() -> Response:
        """The process is up."""
        return JSONResponse({"status": "up"})

    @routes.get("/readyz", responses={503: {"description": "Kafka does not answer, or has no such topic"}})
    async def readiness() -> Response:
        """Kafka answers and has the topic."""
        try:
            partitions = await outlet.partitions()
        except EnvironmentProblem as reason:
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, str(reason), retry_after=1)
        return JSONResponse({"status": "ready", "topic": outlet.topic, "partitions": partitions})

    return routes
