"""One look for all who look: whoever asks first after the interval makes the look, and everybody gets its result.

Nobody looking means no work at all. A look runs in a thread and never on the event loop; Kafka and the registry, which
may take seconds, are asked beside it.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field

from sse_starlette import ServerSentEvent

from features.errors import BehaviorError
from kafka.backlog import Ends
from lake.reader import LakeReader
from serving.page.board import Board
from serving.page.journeys import Journeys
from serving.page.model import ModelFacts, facts_of
from serving.page.parts import PARTS, Pages
from serving.page.story import story_of
from serving.page.timeline import Timeline
from serving.page.words import shown
from serving.user_ids import names_of
from settings import Settings

LOOK_SECONDS = 1.5
KAFKA_SECONDS = 3.0
REGISTRY_SECONDS = 5.0
MAX_CLIENTS = 100
"""Open streams; each costs little, but a connection."""
MAX_KNOWN = 10_000
"""Alerts that are remembered as told."""
MAX_LOADED = 16
"""Time lines that are kept for the moment between a page and its stream."""


@dataclass
class Beside:
    """A question that may take long: asked in a thread of its own, not oftener than every ``seconds``."""

    ask: Callable[[], None]
    seconds: float
    _started_at: float = -1e9
    _task: asyncio.Task[None] | None = None

    def tend(self) -> None:
        """Begin to ask if it is time."""
        if (self._task is None or self._task.done()) and time.monotonic() - self._started_at >= self.seconds:
            self._started_at = time.monotonic()
            self._task = asyncio.create_task(asyncio.to_thread(self.ask))

    async def close(self) -> None:
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)


@dataclass
class Part:
    """A part of the page and the number of the look at which it last changed."""

    html: str
    changed: int


@dataclass
class Live:
    """The board and its parts, shared by all clients."""

    settings: Settings
    reader: LakeReader
    pages: Pages
    ends: Ends
    clients: int = 0
    ending: threading.Event = field(default_factory=threading.Event)
    """Set, from any thread, when the server is to end: the streams end then."""
    parts: dict[str, Part] = field(default_factory=dict)
    news: tuple[int, str] = (0, "")
    """The number of the look that found news, and what they are."""
    look: int = 0
    _looked_at: float = -1e9
    _loaded: OrderedDict[tuple[str, int], Timeline] = field(default_factory=OrderedDict)
    _known_alerts: set[str] | None = None
    _model: ModelFacts | None = None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _beside: list[Beside] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.board = Board(self.settings, self.reader, self.ends)
        self.journeys = Journeys(self.settings, self.reader)
        self._beside = [Beside(self.board.ask_kafka, KAFKA_SECONDS), Beside(self._ask_registry, REGISTRY_SECONDS)]

    async def fresh(self) -> None:
        """Return when the parts are as young as the interval."""
        async with self._lock:
            if time.monotonic() - self._looked_at < LOOK_SECONDS:
                return
            for question in self._beside:
                question.tend()
            made = await asyncio.to_thread(self._look)
            self._looked_at = time.monotonic()
            self.look += 1
            for name, html in made.items():
                if name not in self.parts or self.parts[name].html != html:
                    self.parts[name] = Part(html, self.look)
            self._find_news()

    def _look(self) -> dict[str, str]:
        self.board.poll()
        return self.pages.parts(self.board, self._model)

    def _ask_registry(self) -> None:
        self._model = facts_of(self.settings)

    def _find_news(self) -> None:
        """New alerts, in one sentence for a screen reader."""
        names = {alert["alert_id"]: alert["user_id"] for alert in self.board.alerts}
        fresh = [] if self._known_alerts is None else [id_ for id_ in names if id_ not in self._known_alerts]
        known = self._known_alerts or set()
        self._known_alerts = (known if len(known) < MAX_KNOWN else set()) | names.keys()
        if fresh:
            more = f" and {len(fresh) - 1} more" if len(fresh) > 1 else ""
            self.news = (self.look, f"New alert: {shown(names[fresh[0]], 60)}{more}.")

    async def follow(self, timeline: Timeline | None = None) -> AsyncGenerator[ServerSentEvent]:
        """What a client is sent: the version of the page, then each part when it has changed."""
        self.clients += 1
        try:
            async for event in self._events(timeline):
                yield event
        finally:
            self.clients -= 1

    async def _events(self, timeline: Timeline | None) -> AsyncIterator[ServerSentEvent]:
        yield ServerSentEvent(self.pages.version, event="hello", retry=3000)
        known, said, begun, last = 0, self.look, False, ""
        while not self.ending.is_set():
            await self.fresh()
            if timeline is None:
                for name in PARTS:
                    if self.parts[name].changed > known:
                        yield part(name, self.parts[name].html)
            elif (html := await asyncio.to_thread(self._line, timeline, begun)) not in (None, last):
                last = html or ""
                yield part("line", last)
            begun, known = True, self.look
            if self.news[0] > said:
                said = self.look
                yield ServerSentEvent(self.news[1], event="news")
            await asyncio.sleep(LOOK_SECONDS)

    async def timeline(self, user: str, hours: int) -> tuple[Timeline, str]:
        """A user's time line, read from the tables, and its HTML; the page's stream goes on from it."""
        timeline = self._new(user, hours)
        try:
            await self.reader.run(timeline.load)
        except BehaviorError as problem:
            return timeline, self.pages.line(None, str(problem))
        self._loaded[user, timeline.hours] = timeline
        while len(self._loaded) > MAX_LOADED:
            self._loaded.popitem(last=False)
        return timeline, await asyncio.to_thread(self.line, timeline)

    async def story(self, timeline: Timeline) -> str:
        """What a user did, read from the tables, as HTML."""
        try:
            found = await self.reader.run(story_of, self.reader, sorted(timeline.names), timeline.hours)
        except BehaviorError as problem:
            return self.pages.story(None, str(problem))
        return await asyncio.to_thread(self.pages.story, found)

    def loaded(self, user: str, hours: int) -> Timeline:
        """The time line that was read for a page a moment ago, else one to be read."""
        return self._loaded.pop((user, hours), None) or self._new(user, hours)

    def _new(self, user: str, hours: int) -> Timeline:
        return Timeline(self.reader, user, hours, names_of(user, self.settings).to_pylist())

    def _line(self, timeline: Timeline, begun: bool) -> str | None:
        """The user's line as HTML, None where nothing of the user is new. Blocks."""
        if not begun and timeline.version < 0:
            try:
                timeline.load()
            except BehaviorError as problem:
                return self.pages.line(None, str(problem))
            return self.line(timeline)
        new = [one for one in list(self.board.scored) if one.commit.version > timeline.version]
        for one in new:
            timeline.take(self.board.scores, one.commit, not timeline.names.isdisjoint(one.users))
        has_news = any(not timeline.names.isdisjoint(one.users) for one in new)
        return self.line(timeline) if has_news or not begun else None

    def line(self, timeline: Timeline) -> str:
        """What is known of a user's time line as HTML."""
        return self.pages.line(timeline.line())

    async def close(self) -> None:
        self.ending.set()
        for question in self._beside:
            await question.close()
        self.ends.close()


def live_page(
    settings: Settings, reader: LakeReader, bootstrap_servers: str | None = None, topic: str | None = None
) -> Live:
    """The page on the tables of ``reader``, this broker and topic or the settings' own, and their registry."""
    return Live(settings, reader, Pages(settings), Ends(settings.kafka, bootstrap_servers, topic))


def part(name: str, html: str) -> ServerSentEvent:
    return ServerSentEvent(json.dumps({"id": name, "html": html}, ensure_ascii=False), event="part")
