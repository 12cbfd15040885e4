"""``GET /health``: the process answers. ``/ready``: it could judge now. ``/ready/collector``: it could take events.

``/healthz`` and ``/readyz`` are older names of the first and the last. Probes ask without a key and by any name, so
all they say without one is yes or no; readers are told the reason, too.
"""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from features.errors import EnvironmentProblem
from serving import schemas
from serving.predictions import no_champion
from serving.problems import problem
from serving.roles import Role
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
    async def ready(request: Request) -> Response:
        """There is a champion, so requests can be judged; ``trouble`` says where a newer one cannot be had."""
        predictor = champion.predictor
        if not is_told_more(request):
            return yes() if predictor is not None else no()
        if predictor is None:
            return no_champion(services, ready=False)
        told = {"ready": True, "model_name": predictor.model.name, "model_version": predictor.model.version}
        return JSONResponse({**told, "trouble": champion.trouble})

    @routes.get("/ready/collector", responses=schemas.problems((503, "Kafka does not answer, or has no such topic")))
    @routes.get("/readyz", include_in_schema=False)
    async def collector_readiness(request: Request) -> Response:
        """Kafka answers and has the topic, so events can be taken."""
        try:
            partitions = await outlet.partitions()
        except EnvironmentProblem as reason:
            if not is_told_more(request):
                return no()
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, str(reason), retry_after=1)
        if not is_told_more(request):
            return yes()
        return JSONResponse({"status": "ready", "topic": outlet.topic, "partitions": partitions})

    return routes


def is_told_more(request: Request) -> bool:
    """Whether who asks is a reader."""
    return Role.READER in request.scope["who"].may


def yes() -> Response:
    return JSONResponse({"ready": True})


def no() -> Response:
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, "Not ready: a reader's key is told why.", retry_after=1, ready=False)
