"""``GET /metrics``: what the server does, for Prometheus. Labels are few: never a user, a path as asked, or a value."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.types import Scope

from serving.responses.problems import route_of
from serving.services import Services

SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
STREAMS = ("/page/live",)
"""Answers that never end by themselves: their length is nobody's waiting time."""


class Metrics:
    """The figures of one app."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "behavior_http_requests", "Answers by route and status", ("route", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "behavior_http_seconds", "Time to answer", ("route",), buckets=SECONDS, registry=self.registry
        )
        self._predictions = Counter(
            "behavior_predictions", "Predictions by verdict", ("verdict",), registry=self.registry
        )
        self._ready = Gauge("behavior_champion_loaded", "1 when requests can be scored", registry=self.registry)
        self._model = Gauge("behavior_champion", "1 for the version in use", ("version",), registry=self.registry)
        self._trouble = Gauge("behavior_champion_trouble", "1 when it cannot be followed", registry=self.registry)
        self._age = Gauge(
            "behavior_champion_looked_seconds", "Since the registry was last asked", registry=self.registry
        )

    def observe(self, scope: Scope, status: int, seconds: float) -> None:
        """One answer."""
        path = route_of(scope)
        self._requests.labels(path, status).inc()
        if path not in STREAMS:
            self._seconds.labels(path).observe(seconds)

    def count(self, verdict: str, rows: int) -> None:
        """Rows that were answered with this verdict."""
        self._predictions.labels(verdict).inc(rows)

    def text(self, services: Services) -> bytes:
        """Everything, in Prometheus' text format."""
        champion = services.champion
        self._model.clear()
        self._ready.set(champion.predictor is not None)
        self._trouble.set(champion.trouble is not None)
        if champion.predictor is not None:
            self._model.labels(champion.predictor.model.version).set(1)
        if champion.looked_at is not None:
            self._age.set((datetime.now(UTC) - champion.looked_at).total_seconds())
        return generate_latest(self.registry)


def router(services: Services, metrics: Metrics) -> APIRouter:
    routes = APIRouter(tags=["health"])

    @routes.get(
        "/metrics",
        responses={200: {"description": "Prometheus' text format", "content": {"text/plain": {}}}},
        response_class=Response,
    )
    async def figures() -> Response:
        """Requests by route, status and time, predictions by verdict, and the champion."""
        return Response(metrics.text(services), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return routes
