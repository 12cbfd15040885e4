"""How long each step of a micro-batch takes: one log line a batch, the first place to look when a stream is slow."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from telemetry import metrics

log = logging.getLogger(__name__)


@dataclass
class Steps:
    """Times the steps of one batch of a query; steps may run side by side in threads."""

    query: str
    batch: int
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - began

    def report(self) -> None:
        """Log the steps' seconds, and tell Prometheus."""
        text = ", ".join(f"{name} {duration:.2f} s" for name, duration in self.seconds.items())
        log.info("%s %d: %s", self.query, self.batch, text, extra={"query": self.query, "batch": self.batch})
        metrics.steps(self.query, self.seconds)
