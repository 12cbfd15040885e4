"""Answers about one person from the online view are those from the tables, to the byte; a stale view is not asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path

import pytest

from features.tables import FEATURE_TABLE, PATTERN_MEMBERS, SCORES, SEGMENTS
from online.feed import feed_of
from serving import online_view
from serving.server import Serving
from settings import Settings
from tests.unit.serving.samples import (
    append,
    ask,
    feature_row,
    fill,
    judged,
    registry_with_two_versions,
    server_of,
    settings_of,
    wait_until,
)

pytestmark = pytest.mark.integration
DAY = datetime(2026, 5, 3, tzinfo=UTC)
ASKED = ["bot/1", "calm", "bot/1?limit=1", "calm?limit=1000", "nobody", "Zoë & co", "alerted"]


def mined(root: Path, day: datetime, name: str) -> None:
    segment = {"segment_id": "s1", "name": name, "description": "…", "members": 1, "share": 0.5, "flagged_share": 0.0}
    rest = {"trend": "", "profile": [], "pages": [], "paths": [], "first_day": day, "centre": [], "stability": 1.0}
    append(root, SEGMENTS, [{"day": day, "unit": "user", "silhouette": 0.5, **segment, **rest}])
    append(root, PATTERN_MEMBERS, [member(day, "calm"), member(day, "bot/1", "session")])


def member(day: datetime, user: str, unit: str = "user") -> dict[str, object]:
    about = {"session_start": day, "distance": 0.5, "is_example": False}
    return {"day": day, "unit": unit, "pattern_id": "s1", "user_id": user, **about}


@pytest.fixture
def place(tmp_path: Path) -> Settings:
    settings = settings_of(tmp_path, "model.name=tested", "online.store=sqlite", f"online.path={tmp_path}/online.db")
    registry_with_two_versions(tmp_path, settings.model.name).promote("1")
    root = Path(settings.storage.root)
    fill(root)
    rows = [feature_row("Zoë & co", 3, n) for n in range(3)]
    append(root, FEATURE_TABLE, rows)
    append(root, SCORES, [judged(row, 0.1 * n, "anomaly") for n, row in enumerate(rows)])
    mined(root, DAY, "browsers")
    return settings


def text(server: Serving, method: str, path: str) -> tuple[int, bytes]:
    connection = HTTPConnection(server.host, server.port, timeout=60)
    with closing(connection):
        connection.request(method, path.replace(" ", "%20").replace("ë", "%C3%AB"))
        answer = connection.getresponse()
        return answer.status, answer.read()


@pytest.fixture
def both(place: Settings) -> Iterator[tuple[Serving, Serving]]:
    """A server that asks the view, and one that reads the tables."""
    without = place.model_copy(update={"online": place.online.model_copy(update={"store": "none"})})
    with ExitStack() as stack:
        servers = stack.enter_context(server_of(place)), stack.enter_context(server_of(without))
        for server in servers:
            wait_until(lambda server=server: ask(server, "GET", "/ready").status == 200)  # type: ignore[misc]
        yield servers


def test_the_view_answers_what_the_tables_answer(
    place: Settings, both: tuple[Serving, Serving], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    of = online_view.OnlineView._of  # noqa: SLF001

    async def counted(self: online_view.OnlineView, names: list[str], limits: dict[str, int]) -> object:
        asked.extend(names)
        return await of(self, names, limits)

    monkeypatch.setattr(online_view.OnlineView, "_of", counted)
    by_view, by_tables = both
    assert text(by_view, "GET", "/users/calm")[0] == 200
    assert asked == []  # there is no view yet
    root = Path(place.storage.root)
    with closing(feed_of(place)) as feed:
        for segment in (b'"browsers"', b'"buyers"', b'"segment":null'):
            feed.poll()
            wait_until(lambda: _is_asked(by_view, asked))
            for server in both:
                wait_until(lambda seen=segment, of=server: seen in text(of, "GET", "/users/calm")[1])  # type: ignore[misc]
            for user in ASKED:
                who = user.split("?")[0]
                for method, path in (("GET", f"/users/{user}"), ("POST", f"/users/{who}/predict")):
                    assert text(by_view, method, path) == text(by_tables, method, path)
            if segment == b'"browsers"':
                mined(root, DAY.replace(day=4), "buyers")
            else:  # another day without him
                append(root, PATTERN_MEMBERS, [member(DAY.replace(day=6), "somebody")])


def _is_asked(server: Serving, asked: list[str]) -> bool:
    asked.clear()
    text(server, "GET", "/users/calm")
    return bool(asked)


def test_a_view_that_nobody_brings_up_to_date_is_not_asked_for_long(
    place: Settings, both: tuple[Serving, Serving], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(online_view, "BEHIND_SECONDS", 0.5)
    by_view, by_tables = both
    with closing(feed_of(place)) as feed:
        feed.poll()
    append(Path(place.storage.root), SCORES, [judged(feature_row("calm", 9), 0.4)])
    wait_until(lambda: text(by_view, "GET", "/users/calm") == text(by_tables, "GET", "/users/calm"))
    with closing(feed_of(place)) as feed:
        feed.poll()
    append(Path(place.storage.root), SCORES, [judged(feature_row("calm", 10), 0.4)])
    wait_until(lambda: text(by_view, "GET", "/users/calm") == text(by_tables, "GET", "/users/calm"))
