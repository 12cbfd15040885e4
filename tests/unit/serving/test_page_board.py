"""The board and its stream on real tables, without a browser."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from features.tables import ALERTS, IDENTITIES
from kafka.backlog import Ends
from lake.reader import LakeReader
from privacy.pseudonyms import keyed_hash_of
from serving.page.board import Board
from serving.page.live import Live, live_page
from serving.page.timeline import Timeline
from tests.browser.conftest import Platform, settings_of
from tests.unit.serving.samples import NOON, append, stamp


@pytest.fixture
def live(tmp_path: Path) -> Live:
    settings = settings_of(tmp_path)
    return live_page(settings, LakeReader(settings.storage.root))


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    return Platform(settings_of(tmp_path))


def board_of(tmp_path: Path) -> Board:
    settings = settings_of(tmp_path)
    return Board(settings, LakeReader(settings.storage.root), Ends(settings.kafka))


def test_a_look_reads_only_the_commits_since_the_last_one(
    tmp_path: Path, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = board_of(tmp_path)
    platform.score("a")
    board.poll()
    read: Counter[str] = Counter()
    tail = board.scores
    kept = tail.read
    monkeypatch.setattr(
        tail, "read", lambda commit, columns: (read.update([str(commit.version)]), kept(commit, columns))[1]
    )
    board.poll()
    assert not read
    platform.score("b")
    board.poll()
    assert sum(read.values()) == 1
    assert [sorted(one.users) for one in board.scored] == [["a"], ["b"]]


def test_the_newest_revision_of_an_alert_is_shown_and_one_taken_back_is_not(tmp_path: Path, platform: Platform) -> None:
    board = board_of(tmp_path)
    worse = platform.alert("u", "first word")
    platform.alert("u", "second word", alert_id=worse, revision=2)
    back = platform.alert("v", "a mistake")
    platform.alert("v", "a mistake", alert_id=back, revision=2, state="withdrawn")
    board.poll()
    assert [(alert["alert_id"], alert["reasons"][0]["text"]) for alert in board.alerts] == [(worse, "second word")]
    assert board.open_alerts == 1


def test_of_two_alerts_in_one_minute_the_one_raised_last_comes_first(tmp_path: Path, platform: Platform) -> None:
    minute = platform.score("u")
    raised = [
        platform.alert(
            f"u{number}", "212 clicks", last_window_start=minute, raised_at=minute + timedelta(seconds=number)
        )
        for number in range(8)
    ]
    board = board_of(tmp_path)
    board.poll()
    assert [alert["alert_id"] for alert in board.alerts] == raised[::-1]


def test_one_part_that_cannot_be_read_is_a_sentence_and_the_others_go_on(tmp_path: Path, platform: Platform) -> None:
    platform.score("a")
    alerts = tmp_path / "lake" / ALERTS.name / "_delta_log"
    alerts.mkdir(parents=True)
    (alerts / f"{0:020d}.json").write_text("{broken")
    board = board_of(tmp_path)
    board.poll()
    assert "alerts" in board.trouble
    assert [sorted(one.users) for one in board.scored] == [["a"]]


def test_many_clients_share_one_look(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    look = live.board.poll

    def counted() -> None:
        looks.append(threading.current_thread().name)
        look()

    monkeypatch.setattr(live.board, "poll", counted)

    async def ask() -> None:
        await asyncio.gather(*(live.fresh() for _ in range(50)))
        await live.close()

    asyncio.run(ask())
    assert len(looks) == 1
    assert looks[0] != threading.main_thread().name


def test_a_client_is_sent_everything_first_and_then_only_what_changed(live: Live, platform: Platform) -> None:
    async def watch() -> tuple[list[str], list[str]]:
        events = live.follow()
        assert (await anext(events)).event == "hello"
        first = [name_of(await anext(events)) for _ in range(6)]
        platform.alert("u", "212 clicks")
        later = []
        while (event := await anext(events)).event != "news":  # it comes after the parts of a look
            later.append(name_of(event))
        await live.close()
        await events.aclose()
        return first, later

    first, later = asyncio.run(watch())
    assert sorted(first) == ["alerts", "figures", "model", "notes", "patterns", "streams"]
    assert "alerts" in later
    assert "patterns" not in later


def name_of(event: object) -> str:
    data = getattr(event, "data", "")
    return str(json.loads(data)["id"]) if str(data).startswith("{") else ""


def test_a_user_is_found_by_the_id_where_tables_hold_pseudonyms(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    hidden = settings.model_copy(
        update={
            "ingest": settings.ingest.model_copy(update={"pseudonymise": True}),
            "pseudonym_key": SecretStr("k" * 32),
        }
    )
    Platform(settings).score(keyed_hash_of("u", b"k" * 32))
    live = live_page(hidden, LakeReader(settings.storage.root))
    found, html = asyncio.run(live.timeline("u", 6))
    assert "1 flagged" in html
    assert found.line() is not None
    assert "No scored minute" in asyncio.run(live.timeline("v", 6))[1]


def test_a_time_line_names_the_other_ids_of_the_person(tmp_path: Path, platform: Platform) -> None:
    platform.score("ada")
    platform.score("x")
    row = {"user_id": "ada", "anonymous_id": "x", "linked_at": NOON, "source": "web", **stamp(0)}
    append(Path(platform.root), IDENTITIES, [row])
    live = live_page(settings_of(tmp_path), LakeReader(platform.root))
    of_user, of_other = (asyncio.run(live.timeline(name, 6))[1] for name in ("ada", "x"))
    assert "Was called" in of_user
    assert 'href="timeline?user=x' in of_user
    assert "counts as the user&#39;s from then on" in of_user
    assert "Is the user" in of_other
    assert 'href="timeline?user=ada' in of_other


def test_a_time_line_that_grew_equals_one_that_is_read_anew(tmp_path: Path, platform: Platform) -> None:
    platform.score("u", 20, ago=30)
    board = board_of(tmp_path)
    board.poll()
    grown = Timeline(board.reader, "u", 6)
    grown.load()
    platform.score("u", 3, strange=False)
    platform.score("other")
    board.poll()
    for one in board.scored:
        if one.commit.version > grown.version:
            grown.take(board.scores, one.commit, "u" in one.users)
    anew = Timeline(LakeReader(platform.root), "u", 6)
    anew.load()
    assert grown.line() == anew.line()
    line = anew.line()
    assert line is not None
    assert (line.count, line.flagged_count) == (23, 1)
