"""A person's story: visits and acts as they were, flagged minutes among them, and who came the same way."""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from features.tables import EVENTS, SCORES
from lake.reader import LakeReader
from serving.page.parts import environment
from serving.page.story import MAX_ACTS, MAX_VISITS, Story, story_of, told
from tests.unit.serving.samples import NOON, append, feature_row, judged, minute

SECOND = timedelta(seconds=1)


def event(user: str, action: str, page: str, second: float, **more: Any) -> dict[str, Any]:
    """A row of events, so many seconds after noon."""
    place = {"topic": "t", "partition": 0, "offset": round(second * 10), "ingested_at": NOON, "ingest_id": "q:1"}
    return {"user_id": user, "action": action, "page": page, "timestamp": NOON + second * SECOND, **place, **more}


def lake_of(folder: Path, events: list[dict[str, Any]], flagged: Collection[int] = ()) -> LakeReader:
    """Events, and scores of user "a", minute by minute; a session ends where half an hour is empty."""
    append(folder, EVENTS, events)
    minutes = sorted({(row["timestamp"] - NOON) // timedelta(minutes=1) for row in events if row["user_id"] == "a"})
    rows, start = [], NOON
    for before, number in pairwise([-99, *minutes]):
        start = start if number - before < 30 else minute(number)
        verdict = "anomaly" if number in flagged else "normal"
        rows.append(judged(feature_row("a", number) | {"session_start": start}, 0.5, verdict))
    append(folder, SCORES, rows)
    return LakeReader(str(folder))


def test_visits_are_sessions_the_newest_first_and_the_same_in_a_row_is_told_once(tmp_path: Path) -> None:
    events = [event("a", "view", "/", 0), *[event("a", "click", "/buy", 10 + n) for n in range(3)],
              event("a", "view", "/", 20), event("a", "view", "/late", 3600),
              event("b", "view", "/other", 5)]  # fmt: skip
    story = story_of(lake_of(tmp_path, events), ["a"], 24)
    assert story is not None
    assert [(visit.start, visit.events) for visit in story.visits] == [
        (NOON + timedelta(hours=1), 1), (NOON, 5),
    ]  # fmt: skip
    acts = story.visits[1].acts
    assert [(act.action, act.page, act.times) for act in acts] == [
        ("view", "/", 1),
        ("click", "/buy", 3),
        ("view", "/", 1),
    ]
    assert (acts[1].at, acts[1].until) == (NOON + 10 * SECOND, NOON + 12 * SECOND)


def test_what_was_done_in_a_flagged_minute_is_marked_and_a_run_ends_with_the_minute(tmp_path: Path) -> None:
    events = [event("a", "click", "/x", second) for second in (50, 55, 61, 62)]
    (visit,) = story_of(lake_of(tmp_path, events, {1}), ["a"], 1).visits  # type: ignore[union-attr]
    assert [(act.times, act.is_flagged) for act in visit.acts] == [(2, False), (2, True)]
    assert visit.flagged_minutes == 1


def test_a_visit_that_is_not_scored_yet_is_told_as_that(tmp_path: Path) -> None:
    reader = lake_of(tmp_path, [event("a", "view", "/", 0)])
    append(tmp_path, EVENTS, [event("a", "view", "/new", 7200)])
    story = story_of(LakeReader(str(tmp_path)), ["a"], 24)
    assert story is not None
    assert [visit.start for visit in story.visits] == [None, NOON]
    assert reader.root == str(tmp_path)


def test_others_by_the_same_address_or_device_are_told_and_oneself_is_not(tmp_path: Path) -> None:
    events = [event("a", "view", "/", 0, ip="192.0.2.1", device_id="d1"), event("b", "view", "/", 1, ip="192.0.2.1"),
              event("b", "view", "/", 2, ip="192.0.2.1"), event("c", "view", "/", 3, device_id="d1"),
              event("d", "view", "/", 4, ip="192.0.2.9", device_id="d9"),
              event("a-hash", "view", "/", 5, ip="192.0.2.1")]  # fmt: skip
    story = story_of(lake_of(tmp_path, events), ["a", "a-hash"], 24)
    assert story is not None
    assert [(other.user, other.by, other.value, other.events) for other in story.others] == [
        ("b", "ip", "192.0.2.1", 2), ("c", "device_id", "d1", 1),
    ]  # fmt: skip


def test_the_hours_asked_for_are_those_before_the_newest_event(tmp_path: Path) -> None:
    events = [event("a", "view", "/old", 0), event("a", "view", "/new", 2 * 3600)]
    reader = lake_of(tmp_path, events)
    for hours, visits in ((1, 1), (6, 2)):
        story = story_of(reader, ["a"], hours)
        assert story is not None
        assert len(story.visits) == visits
    assert story_of(reader, ["nobody"], 24) is None


def test_long_visits_and_many_of_them_are_cut_and_it_is_said() -> None:
    events = [event("a", "view", f"/{number}", number) for number in range(MAX_ACTS + 5)]
    (visit,) = told(events, {})
    assert (len(visit.acts), visit.more, visit.events) == (MAX_ACTS, 5, MAX_ACTS + 5)


def test_more_visits_than_are_shown_are_counted(tmp_path: Path) -> None:
    events = [event("a", "view", "/", 3600 * number) for number in range(MAX_VISITS + 2)]
    story = story_of(lake_of(tmp_path, events), ["a"], 168)
    assert story is not None
    assert (len(story.visits), story.earlier) == (MAX_VISITS, 2)


def test_a_raw_event_has_what_it_was_sent_with_and_is_text_on_the_page() -> None:
    markup = "<script>alert(1)</script>"
    (visit,) = told([event("a", "view", markup, 0, outcome="failed", properties=[("note", markup)], ip=None)], {})
    raw = json.loads(visit.acts[0].raw)
    assert (raw["outcome"], raw["properties"], raw["timestamp"]) == ("failed", {"note": markup}, NOON.isoformat())
    assert "ip" not in raw
    shown = environment().get_template("story.html").render(story=Story((visit,), 0, (), None), trouble=None)
    assert markup not in shown
    assert "&lt;script&gt;alert(1)" in shown
    assert "failed" in shown


def test_without_tables_there_is_no_story(tmp_path: Path) -> None:
    assert story_of(LakeReader(str(tmp_path)), ["a"], 24) is None
