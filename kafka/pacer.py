"""Keeping a rate without drift."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Pacer:
    """Lets ``rate`` calls of :meth:`take` per second pass, on a schedule fixed at the first one.

    The n-th call is due n / rate seconds after the first, whatever the ones before it took: delays do not add up.
    After a hold-up the calls that are overdue pass at once. ``rate`` None never waits. ``stop`` ends a wait at once.
    """

    def __init__(
        self,
        rate: float | None,
        stop: threading.Event | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rate = rate
        self.stop = stop or threading.Event()
        self._clock = clock
        self._started: float | None = None
        self._calls = 0

    def take(self) -> bool:
        """Wait until the next call is due; False if ``stop`` was set."""
        due = 0.0 if self.rate is None else self._calls / self.rate
        self._calls += 1
        return self.until(due)

    def until(self, seconds: float) -> bool:
        """Wait until this many seconds after the first call; False if ``stop`` was set."""
        if self._started is None:
            self._started = self._clock()
        while (left := self._started + seconds - self._clock()) > 0:
            if self.stop.wait(left):
                break
        return not self.stop.is_set()
