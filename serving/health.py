"""``GET /health``: the process answers. ``GET /ready``: it could do its work now, or the reason why not.

``/healthz`` and ``/readyz`` are the collector's own: ready there means that Kafka has the topic.
"""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from features.errors import EnvironmentProblem
from serving import schemas
from serving.predictions import no_champion
from serving.problems import problem
from serving.services import Services


def router(services: Services) -> APIRouter:
    routes = APIRouter(tags=["health"])
    outlet, champion = services.outlet, services.champion

    @routes.get("/health")
    @routes.get("/healthz", include_in_schema=False)
    async def health() -> Response:
        """The process is up."""
        return JSONResponse({"status": "up"})

    @routes.get("/ready", responses=schemas.problems((503, "There is no champion; detail says why")))
    async def ready() -> Response:
        """There is a champion, so requests can be judged; ``trouble`` says where a newer one cannot be had."""
        predictor = champion.predictor
        if predictor is None:
            return no_champion(services, ready=False)
        told = {"ready": True, "model_name": predictor.model.name, "model_version": predictor.model.version}
        return JSONResponse({**told, "trouble": champion.trouble})

    @routes.get("/readyz", responses=schemas.problems((503, "Kafka does not answer, or has no such topic")))
    async def collector_readiness() -> Response:
        """Kafka answers and has the topic, so events can be taken."""
        try:
            partitions = await outlet.partitions()
        except EnvironmentProblem as reason:
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, str(reason), retry_after=1)
        return JSONResponse({"status": "ready", "topic": outlet.topic, "partitions": partitions})

    return routes
