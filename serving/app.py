"""The app factory. A further concern is a further module in ``routes/`` with a ``router``, included here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from registry.trusted_keys import trust_of
from serving.access.keys import Keys
from serving.access.security import CorsOfEvents, Guard
from serving.access.sessions import Sessions
from serving.page import routes as page
from serving.page.live import live_page
from serving.responses.problems import answer_with_problems
from serving.routes import (
    alerts,
    collector,
    documentation,
    health,
    identities,
    journeys,
    metrics,
    patterns,
    people,
    predictions,
)
from serving.services import Services
from settings import Settings
from streams.rules import validation_rules

VERSION = "1"
ABOUT = """Is this behaviour strange, how strange, and why. Wrong requests are answered with problem details (RFC 9457).

Where the server demands a key, send `Authorization: Bearer TOKEN`."""


def create_app(settings: Settings, *, bootstrap_servers: str | None = None, topic: str | None = None) -> FastAPI:
    """The app on the broker and topic of the settings, or on these.

    It starts where Kafka, the tables or the model registry are away, too: then ``/ready`` says so, and what needs them
    is answered 503 until they are back.

    Raises:
        ConfigurationError: others could reach the server and there is no key, or a key of models is none.
    """
    keys = Keys(settings)  # here, since middleware is made later, when it could only be logged
    trust_of(settings)  # ... and the registry in a thread
    services = Services.of(settings, bootstrap_servers=bootstrap_servers, topic=topic)
    live = live_page(settings, services.lake, bootstrap_servers, topic)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with services.running():
            yield
            await live.close()

    # FastAPI's own documentation pages load scripts from elsewhere; ours is serving/routes/documentation.py.
    app = FastAPI(
        title="User behaviour", description=ABOUT, version=VERSION, lifespan=lifespan, docs_url=None, redoc_url=None
    )
    app.state.services = services
    app.state.before_stop = [live.ending.set]
    app.state.body_seconds = max(settings.serving.read_seconds, settings.collector.read_seconds)
    answer_with_problems(app)
    if settings.collector.allowed_origins:
        app.add_middleware(CorsOfEvents, allowed_origins=settings.collector.allowed_origins)
    figures = metrics.Metrics()
    app.add_middleware(
        Guard, settings=settings, keys=keys, audit=services.audit, buckets=services.buckets, observe=figures.observe
    )
    if settings.oidc.issuer is not None:
        from serving.routes import sign_in  # noqa: PLC0415  (authlib)

        app.add_middleware(Sessions, settings=settings.oidc)
        app.include_router(sign_in.router(settings.oidc, services.audit))
    app.include_router(predictions.router(services, figures.count))
    app.include_router(people.router(services, figures.count))
    app.include_router(identities.router(services))
    app.include_router(alerts.router(services))
    app.include_router(patterns.router(services))
    app.include_router(journeys.router(services))
    app.include_router(health.router(services))
    app.include_router(metrics.router(services, figures))
    app.include_router(documentation.router())
    rules = validation_rules(settings.ingest)
    app.include_router(collector.router(settings.collector, rules, services.producer, topic or settings.kafka.topic))
    app.include_router(page.router(live))
    return app
