"""What the parts of the server share: settings, tables, the champion, the way to Kafka."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kafka.async_producer import AsyncProducer
from kafka.producer import EventProducer, producer_from
from lake.reader import LakeReader
from registry.sqlite_file import may_hold
from serving.access.audit import Audit
from serving.access.rate_limits import Buckets
from serving.champion import Champion
from serving.online_view import OnlineView
from settings import CollectorSettings, KafkaSettings, Settings

if TYPE_CHECKING:
    from scoring.arrays import Rules
    from scoring.champion import ModelSource


@dataclass(frozen=True)
class Services:
    """Made once per app; nothing runs before :meth:`running`."""

    settings: Settings
    lake: LakeReader
    online: OnlineView
    champion: Champion
    producer: AsyncProducer
    audit: Audit
    buckets: Buckets
    """What each client may still ask, except for events."""

    @classmethod
    def of(cls, settings: Settings, *, bootstrap_servers: str | None = None, topic: str | None = None) -> Services:
        limits = settings.collector
        lake = LakeReader(settings.storage.root, seconds=settings.serving.answer_seconds)
        return cls(
            settings,
            lake,
            OnlineView(settings, lake),
            champion_of(settings),
            AsyncProducer(
                lambda: producer_of(settings.kafka, limits, bootstrap_servers, topic),
                limits.acknowledge_seconds,
                limits.max_in_flight,
            ),
            Audit(settings.storage.root, settings.audit),
            Buckets(settings.serving.rate_per_second, settings.serving.burst),
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """What runs in the background does so while the block runs."""
        self.producer.start()
        try:
            async with self.audit.running():
                with self.champion.following(), self.online.following():
                    yield
        finally:
            self.lake.close()
            await self.producer.close()


def producer_of(
    kafka: KafkaSettings, collector: CollectorSettings, bootstrap_servers: str | None, topic: str | None
) -> EventProducer:
    """A producer that gives an event up when the sender was told so, and tries an absent broker every second."""
    options = {
        "linger.ms": "5",
        "message.timeout.ms": str(round(1000 * collector.acknowledge_seconds)),
        "reconnect.backoff.max.ms": "1000",
    }
    return producer_from(
        kafka,
        bootstrap_servers=bootstrap_servers,
        topic=topic,
        timeout=collector.acknowledge_seconds,
        queue_events=collector.max_in_flight,
        options=options,
    )


def champion_of(settings: Settings) -> Champion:
    """The follower of the settings' registry; MLflow is imported at its first look, in the thread that looks."""

    def source() -> ModelSource | None:
        if not may_hold(settings.model.tracking_uri, settings.model.name):
            return None
        from registry.configured import registry_of  # noqa: PLC0415  (seconds)

        return registry_of(settings)

    def rules() -> Rules:
        from scoring.arrays import Rules  # noqa: PLC0415  (numba)

        return Rules(settings.model.min_session_events, settings.score.max_reasons)

    return Champion(source, rules, settings.serving.follow_seconds)
