"""What the parts of the server share: settings, tables, the champion, the way to Kafka."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobs.runtime.settings import Settings
from serving.audit import Audit
from serving.champion import Champion
from serving.limits import Buckets
from serving.outlet import Outlet, producer_of
from serving.reading import LakeReader
from training.registry_file import may_hold

if TYPE_CHECKING:
    from training.champion import ModelSource
    from training.judge import Rules


@dataclass(frozen=True)
class Services:
    """Made once per app; nothing runs before :meth:`running`."""

    settings: Settings
    lake: LakeReader
    champion: Champion
    outlet: Outlet
    audit: Audit
    buckets: Buckets
    """What each client may still ask, except for events."""

    @classmethod
    def of(cls, settings: Settings, *, bootstrap_servers: str | None = None, topic: str | None = None) -> Services:
        limits = settings.collector
        return cls(
            settings,
            LakeReader(settings.storage.root, seconds=settings.serving.answer_seconds),
            champion_of(settings),
            Outlet(
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
        self.outlet.start()
        try:
            async with self.audit.running():
                with self.champion.following():
                    yield
        finally:
            self.lake.close()
            await self.outlet.close()


def champion_of(settings: Settings) -> Champion:
    """The follower of the settings' registry; MLflow is imported at its first look, in the thread that looks."""

    def source() -> ModelSource | None:
        if not may_hold(settings.model.tracking_uri, settings.model.name):
            return None
        from jobs.runtime.models import registry_of  # noqa: PLC0415  (seconds)

        return registry_of(settings)

    def rules() -> Rules:
        from training.judge import Rules  # noqa: PLC0415  (numba)

        return Rules(settings.model.min_session_events, settings.score.max_reasons)

    return Champion(source, rules, settings.serving.follow_seconds)
