"""The online view of a running platform, filled in a thread of its own."""

from __future__ import annotations

import logging
import threading
import time

from features.errors import BehaviorError, EnvironmentProblem
from online.feed import Feed, feed_of
from settings import Settings

POLL_SECONDS = 2.0
"""Longest pause between two looks; who writes scores wakes it at once."""
MAX_TROUBLE_PAUSE = 30.0
EXPIRE_SECONDS = 3600.0
log = logging.getLogger(__name__)


class OnlineStream:
    """A :class:`Feed` that follows the tables until it is stopped. What is wrong is logged, and tried again."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._stopped, self._woken = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="online", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """There are new rows."""
        self._woken.set()

    def stop(self) -> None:
        """Take in what is there, and end."""
        self._stopped.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def _run(self) -> None:
        feed: Feed | None = None
        pause, expire_at = POLL_SECONDS, time.monotonic() + EXPIRE_SECONDS
        while True:
            is_last = self._stopped.is_set()
            self._woken.clear()
            try:
                feed = feed or feed_of(self.settings)
                feed.poll()
                if time.monotonic() > expire_at:
                    feed.expire()
                    expire_at = time.monotonic() + EXPIRE_SECONDS
                pause = POLL_SECONDS
            except EnvironmentProblem as error:
                log.warning("the online view waits: %s", error)
                pause = min(2 * pause, MAX_TROUBLE_PAUSE)
            except BehaviorError as error:
                log.warning("the online view is not filled here: %s", error)
                pause = MAX_TROUBLE_PAUSE
            except Exception:  # a thread that dies silently would be worse
                log.exception("the online view was not filled")
                feed, pause = None, MAX_TROUBLE_PAUSE
            if is_last:
                break
            self._woken.wait(pause)
        if feed is not None:
            feed.close()


def stream_of(settings: Settings) -> OnlineStream | None:
    """One that is not started yet; None where the settings name no store."""
    return None if settings.online.store == "none" else OnlineStream(settings)
