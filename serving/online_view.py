"""The online view as the server asks it: as long as it is up to date with the tables."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from time import monotonic
from typing import Any

import orjson

from features.errors import BehaviorError, EnvironmentProblem
from features.tables import ALERTS, FEATURE_TABLE, PATTERN_MEMBERS, SCORES, Table
from lake.reader import LakeReader
from online.configured import store_of
from online.entries import ALERT, FEATURES, MINUTE, SCORE, SEGMENT, features_in, minute_in, place_of, score_in
from online.feed import FOLLOWED, IDENTITY, NEWEST, identity_of, oldest
from online.store import Kept, Store
from settings import Settings

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
BEHIND_SECONDS = 10.0
"""A view that a table has been ahead of for longer is not asked: its feed is stopped."""
NEWEST_ALERTS = 10


class OnlineView:
    """Answers about one person, in a millisecond; :attr:`is_current` says whether it may be asked."""

    def __init__(self, settings: Settings, lake: LakeReader) -> None:
        self.settings, self.lake = settings, lake
        self.is_current = False
        self._store: Store | None = None
        self._noted: dict[str, str] = {}
        self._behind_since: float | None = None
        self._stopped = threading.Event()
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="online")

    @contextlib.contextmanager
    def following(self) -> Iterator[None]:
        """Look now and then how far the view is while the block runs."""
        if self.settings.online.store == "none":
            yield
            return
        thread = threading.Thread(target=self._run, name="online", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            thread.join(10)
            self._pool.shutdown(wait=False, cancel_futures=True)
            if self._store is not None:
                self._store.close()

    async def person(self, names: Sequence[str], limit: int) -> dict[str, Any] | None:
        """What ``GET /users/{id}`` answers; None for nothing. In it are texts that are JSON already.

        Raises:
            EnvironmentProblem: the view cannot be read, or does not answer.
        """
        limits = {FEATURES: len(names), SCORE: len(names), MINUTE: limit, ALERT: NEWEST_ALERTS, SEGMENT: len(names)}
        kept = await self._of(names, limits)
        latest = self._newest(FEATURE_TABLE, map(features_in, kept[FEATURES]))
        if latest is None:
            return None
        score = self._newest(SCORES, map(score_in, kept[SCORE]))
        alerts = [orjson.Fragment(one.body) for one in kept[ALERT] if one.place >= self._since(ALERTS)]
        history = [minute_in(one) for one in kept[MINUTE] if one.place >= self._since(SCORES)]
        return {
            "user_id": latest["user_id"],
            "latest": {name: latest[name] for name in ("window_start", "session_start", "features")},
            "judgement": score,
            "segment": self._segment(kept[SEGMENT]),
            "alerts": alerts,
            "history": history,
        }

    async def newest_minute(self, names: Sequence[str]) -> dict[str, Any] | None:
        """The newest feature row, its features by name under ``features``; None where there is none."""
        kept = await self._of(names, {FEATURES: len(names)})
        return self._newest(FEATURE_TABLE, map(features_in, kept[FEATURES]))

    async def _of(self, names: Sequence[str], limits: dict[str, int]) -> dict[str, list[Kept]]:
        store = self._store
        assert store is not None
        try:
            async with asyncio.timeout(self.settings.serving.answer_seconds):
                found = await asyncio.get_running_loop().run_in_executor(self._pool, store.of, names, limits)
        except TimeoutError:
            raise EnvironmentProblem("The online view did not answer in time.") from None
        return {kind: found.get(kind, []) for kind in limits}

    def _newest(self, table: Table, rows: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
        """The newest minute among these, unless it is older than the days that are looked back."""
        near = [row for row in rows if place_of(_seconds(row["window_start"])) >= self._since(table)]
        return max(near, key=lambda row: str(row["window_start"]), default=None)

    def _segment(self, kept: Sequence[Kept]) -> dict[str, Any] | None:
        rows: list[dict[str, Any]] = [orjson.loads(one.body) for one in kept]
        newest = self._noted.get(NEWEST + PATTERN_MEMBERS.name)
        return next((row for row in rows if str(_seconds(row["day"])) == newest), None)

    def _since(self, table: Table) -> str:
        return oldest(self._noted, table, self.settings)

    def _run(self) -> None:
        while True:
            try:
                self._look()
            except BehaviorError as error:
                if self.is_current:
                    log.warning("people are looked up in the tables: %s", error)
                self.is_current = False
            except Exception:
                log.exception("the online view was not looked at")
                self.is_current = False
            if self._stopped.wait(LOOK_SECONDS):
                return

    def _look(self) -> None:
        """How far the view is beside the tables."""
        if self._store is None:
            self._store = store_of(self.settings, read_only=True)
        assert self._store is not None
        tables = [there for table in FOLLOWED if (there := self.lake.snapshot(table)) is not None]
        noted = self._noted = self._store.noted()
        if any(noted.get(IDENTITY + there.table.name) != identity_of(there.identity) for there in tables) or not tables:
            self.is_current = False
            return
        if all(int(noted[there.table.name]) >= there.version for there in tables):
            self._behind_since, self.is_current = None, True
            return
        self._behind_since = self._behind_since or monotonic()
        if monotonic() - self._behind_since > BEHIND_SECONDS and self.is_current:
            log.warning("people are looked up in the tables: nobody has brought the online view up to date for a while")
            self.is_current = False


def _seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())
