"""``GET /health``: the process answers. ``/ready``: it could score now. ``/ready/collector``: it could take events.

``/healthz`` and ``/readyz`` are older names of the first and the last. Probes ask without a key and by any name, so
all they say without one is yes or no; readers are told the reason, too.
"""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from features.errors import EnvironmentProblem
from serving.access.roles import Role
from serving.responses.problems import ProblemError
from serving.responses.schemas import problems
from serving.routes.predictions import no_champion
from serving.services import Services


def router(services: Services) -> APIRouter:
    routes = APIRouter(tags=["health"])
    producer, champion = services.producer, services.champion

    @routes.get("/health")
    @routes.get("/healthz", include_in_schema=False)
    async def health() -> Response:
        """The process is up."""
        return JSONResponse({"status": "up"})

    @routes.get("/ready", responses=problems((503, "There is no champion; detail says why")))
    async def ready(request: Request) -> Response:
        """There is a champion, so requests can be scored; ``trouble`` says where a newer one cannot be had."""
        predictor = champion.predictor
        if predictor is None:
            raise no_champion(services, ready=False) if is_reader(request) else not_ready()
        if not is_reader(request):
            return yes()
        model = {"model_name": predictor.model.name, "model_version": predictor.model.version}
        return JSONResponse({"ready": True, **model, "trouble": champion.trouble})

    @routes.get("/ready/collector", responses=problems((503, "Kafka does not answer, or has no such topic")))
    @routes.get("/readyz", include_in_schema=False)
    async def collector_readiness(request: Request) -> Response:
        """Kafka answers and has the topic, so events can be taken."""
        try:
            partitions = await producer.partitions()
        except EnvironmentProblem as reason:  # answered sooner than others, and not to everybody
            if not is_reader(request):
                raise not_ready() from None
            raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, str(reason), retry_after=1) from None
        if not is_reader(request):
            return yes()
        return JSONResponse({"status": "ready", "topic": producer.topic, "partitions": partitions})

    return routes


def is_reader(request: Request) -> bool:
    """Whether who asks is a reader."""
    return Role.READER in request.scope["who"].may


def yes() -> Response:
    return JSONResponse({"ready": True})


def not_ready() -> ProblemError:
    detail = "Not ready: a reader's key is told why."
    return ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, detail, retry_after=1, ready=False)
