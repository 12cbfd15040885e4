"""How long each step of a micro-batch takes: one log line a batch, the first place to look when a stream is slow."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

log = logging.getLogger(__name__)


@dataclass
class Steps:
    """Times the steps of one batch; steps may run side by side in threads."""

    batch: str
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - began

    def report(self) -> None:
        log.info("%s: %s", self.batch, ", ".join(f"{name} {taken:.2f} s" for name, taken in self.seconds.items()))
