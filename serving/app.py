"""The app factory. A further concern is a further module with a ``router`` function, included here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from jobs.ingest_events import judging_rules
from jobs.runtime.settings import Settings
from serving import collector, health
from serving.outlet import Outlet, producer_of
from serving.page import routes as page
from serving.page.live import live_page
from serving.problems import answer_with_problems
from serving.reading import LakeReader


def create_app(settings: Settings, *, bootstrap_servers: str | None = None, topic: str | None = None) -> FastAPI:
    """The app on the broker and topic of the settings, or on these.

    It starts where Kafka is away, too: then ``/readyz`` says so, and events are answered 503 until Kafka is back.
    """
    limits = settings.collector
    outlet = Outlet(
        lambda: producer_of(settings.kafka, limits, bootstrap_servers, topic),
        limits.acknowledge_seconds,
        limits.max_in_flight,
    )

    reader = LakeReader(settings.storage.root)
    live = live_page(settings, reader, bootstrap_servers, topic)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        outlet.start()
        yield
        await live.close()
        reader.close()
        await outlet.close()

    # The documentation pages load scripts from elsewhere; /openapi.json stays.
    app = FastAPI(title="User behaviour", lifespan=lifespan, docs_url=None, redoc_url=None)
    answer_with_problems(app)
    if limits.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=limits.allowed_origins,
            allow_methods=["POST"],
            allow_headers=["Content-Type"],
            expose_headers=["Retry-After"],
        )
    app.include_router(health.router(outlet))
    app.include_router(collector.router(limits, judging_rules(settings.ingest), outlet))
    app.include_router(page.router(live))
    app.state.before_stop = [live.ending.set]
    return app
