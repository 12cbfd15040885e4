"""Alerts of a running platform: scores followed in a thread of its own, and each sink's deliveries in another."""

from __future__ import annotations

import logging
import threading
import time

from alerts.delivery import Delivery
from alerts.follower import QUERY, ScoreFollower
from alerts.sinks.registry import sinks_of
from features.errors import BehaviorError, EnvironmentProblem
from settings import Settings
from streams import claims

MAX_TROUBLE_PAUSE = 30.0
log = logging.getLogger(__name__)


class AlertStream:
    """A :class:`ScoreFollower` in a thread of its own, and the deliveries to every sink."""

    def __init__(self, settings: Settings) -> None:
        sinks = sinks_of(settings)  # first: what is wrong with them is said before anything is claimed
        self.follower = ScoreFollower(settings)
        self.settings = settings
        self.failure: BehaviorError | None = None
        root, folder = self.follower.root, self.follower.folder
        self.deliveries = [Delivery(name, sink, root, folder) for name, sink in sinks.items()]
        self.follower.when_raised = self._notify
        self._turn = threading.Lock()
        self._stopped, self._woken = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=QUERY, daemon=True)

    def start(self, *, follow: bool = True) -> None:
        """Send alerts on and, unless the caller polls himself, follow the scores."""
        for delivery in self.deliveries:
            delivery.start()
        if follow:
            self._thread.start()

    def poll(self) -> int:
        """Take in what is new now, and wake the deliveries."""
        with self._turn:
            return self.follower.poll()

    def wake(self) -> None:
        """There are new scores: they are looked at without waiting for the next turn."""
        self._woken.set()

    def drain(self, seconds: float = 60.0) -> None:
        """Take in all that is there, and wait until it is sent on.

        Raises:
            BehaviorError: the storage fails, or a receiver does not take it in time.
        """
        self.poll()
        for delivery in self.deliveries:
            delivery.drain(self.follower.written, seconds)

    def stop(self) -> None:
        self._stopped.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join(10)
        for delivery in self.deliveries:
            delivery.stop()
        claims.let_go(self.follower.folder)

    def wait(self, stop: threading.Event) -> None:
        """Until ``stop`` is set, or it has failed for good.

        Raises:
            BehaviorError: why.
        """
        while not stop.wait(0.5):
            if self.failure is not None:
                raise self.failure

    def _notify(self) -> None:
        for delivery in self.deliveries:
            delivery.notify()

    def _run(self) -> None:
        pause = self.settings.alerts.poll_seconds
        while True:
            self._woken.wait(pause)
            if self._stopped.is_set():
                return
            self._woken.clear()
            try:
                began = time.monotonic()
                revisions = self.poll()
                if revisions:
                    log.info("%s: %d revisions in %.3f s", QUERY, revisions, time.monotonic() - began)
                pause = self.settings.alerts.poll_seconds
            except EnvironmentProblem as error:
                log.warning("%s waits: %s", QUERY, error)
                pause = min(2 * max(pause, 1.0), MAX_TROUBLE_PAUSE)
            except BehaviorError as error:
                self.failure = error
                return
            except Exception as error:  # a thread that dies silently would be worse
                log.exception("%s failed", QUERY)
                self.failure = BehaviorError(f"Raising alerts failed: {error}. Its trace is in the log.")
                return


def raise_once(settings: Settings) -> None:
    """Raise what is due now, and send it on.

    Raises:
        BehaviorError: the storage fails, or a receiver does not take it in time.
    """
    stream = AlertStream(settings)
    try:
        stream.start(follow=False)
        stream.drain()
    finally:
        stream.stop()
