"""Funnels and retention over HTTP, on tables as the jobs fill them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from features.errors import EnvironmentProblem
from features.tables import EVENTS, FEATURE_TABLE, SCORES
from journeys.retention import retention
from serving.server import Serving
from tests.unit.journeys.samples import NOON as FIRST
from tests.unit.journeys.samples import acts_of
from tests.unit.serving.samples import (
    NOON,
    append,
    ask,
    feature_row,
    judged,
    minute,
    server_of,
    settings_of,
    wait_until,
)

FUNNEL = 'journeys.funnels={"buy": {"steps": [{"action": "view"}, {"action": "click", "name": "take"}]}}'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("journeys")
    with server_of(settings_of(folder, FUNNEL)) as served:
        assert ask(served, "GET", "/funnels/buy").status == 404
        assert ask(served, "GET", "/retention").status == 404
        root = folder / "lake"
        told = [("a", "view", 0), ("a", "click", 1), ("b", "view", 0), ("bot", "view", 0), ("bot", "click", 0)]
        day_before = [("a", "view", -1440)]
        rows = [
            {"user_id": user, "action": action, "page": "/", "timestamp": minute(number), "offset": offset}
            for offset, (user, action, number) in enumerate([*told, *day_before])
        ]
        given = {"topic": "t", "partition": 0, "ingested_at": NOON, "ingest_id": "q:1"}
        append(root, EVENTS, [row | given for row in rows])
        minutes = [feature_row(user, at) for user, at in {(user, at) for user, _, at in told}]
        append(root, FEATURE_TABLE, minutes)
        append(root, SCORES, [judged(row, 0.5, "anomaly" if row["user_id"] == "bot" else "normal") for row in minutes])
        wait_until(lambda: ask(served, "GET", "/funnels/buy").status == 200)
        yield served


def test_a_funnel_of_conf_is_counted(server: Serving) -> None:
    known = ask(server, "GET", "/funnels").content["funnels"]
    assert [(funnel["name"], funnel["within_minutes"]) for funnel in known] == [("buy", None)]
    found = ask(server, "GET", "/funnels/buy").content
    assert [(step["name"], step["people"], step["of_first"]) for step in found["steps"]] == [
        ("view", 2, 1.0), ("take", 1, 0.5),
    ]  # fmt: skip
    assert found["steps"][1]["seconds_median"] == 60.0
    assert found["days"][-1] == {"day": NOON.replace(hour=0).isoformat(), "people": [2, 1]}
    everybody = ask(server, "GET", "/funnels/buy?traffic=all").content
    assert [step["people"] for step in everybody["steps"]] == [3, 2]


def test_a_funnel_by_its_steps_is_that_of_conf_with_these_steps(server: Serving) -> None:
    found = ask(server, "GET", "/funnel?step=view&step=click").content
    named = ask(server, "GET", "/funnels/buy").content
    people = [[step["people"] for step in one["steps"]] for one in (found, named)]
    assert people[0] == people[1] == [2, 1]
    at_once = ask(server, "GET", "/funnel?step=view&step=click&within_minutes=0.5").content
    assert [step["people"] for step in at_once["steps"]] == [2, 0]
    either = ask(server, "GET", "/funnel?step=click&step=view&in_order=false").content
    assert [step["people"] for step in either["steps"]] == [2, 1]


def test_proposals_findings_and_ways_are_told(server: Serving) -> None:
    assert ask(server, "GET", "/funnel/proposals").content == {"funnels": []}
    assert ask(server, "GET", "/findings").content == {"findings": []}
    ways = ask(server, "GET", "/flow?traffic=all").content
    assert (ways["kind"], ways["visits"], ways["people"]) == ("/", 3, 3)
    assert [(way["kind"], way["share"]) for way in ways["after"]] == [("(end)", 1.0)]


def test_who_comes_back_is_told_by_days_that_are_over(server: Serving) -> None:
    found = ask(server, "GET", "/retention?traffic=all").content
    assert found["through"] == (NOON - timedelta(days=1)).replace(hour=0).isoformat()
    assert [(cohort["people"], cohort["again"]) for cohort in found["cohorts"]] == [(1, [])]
    assert [(day["people"], day["new"], day["stickiness"]) for day in found["days"]] == [(1, 1, 1.0)]


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/funnels/sell", 404, "there are: buy"),
        ("/funnel?step=view", 422, "found 1 steps; needed: 2 to 12"),
        ("/funnel?step=view&step=:", 422, "found no action, page or outcome"),
        ("/funnel", 422, "step"),
        ("/flow?since=2026-13-01", 422, "since"),
        ("/funnels/buy?since=9999-12-31", 422, "needed: an earlier since"),
        ("/funnels/buy?until=0001-01-01", 422, "needed: an earlier since, or a later until"),
        ("/retention?traffic=bots", 422, "traffic"),
    ],
)
def test_what_cannot_be_counted_is_said(server: Serving, path: str, status: int, says: str) -> None:
    answer = ask(server, "GET", path)
    assert (answer.status, says in answer.content["detail"]) == (status, True), answer


@pytest.mark.parametrize("path", ["/funnels/buy?until=9999-12-31", "/retention?since=0001-01-01&until=9999-12-31"])
def test_days_without_events_ask_for_nothing_more(server: Serving, path: str) -> None:
    assert ask(server, "GET", path).status == 200


def test_a_question_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    acts = acts_of([])
    late = type(acts)(acts.events, acts.minutes, acts.verdicts, seconds=0.2)
    endless = "SELECT count(*) FROM range(100000) a, range(100000) b, range(1000) c WHERE a.range * b.range = c.range"
    sentence = r"longer than 0\.2 s\. Ask for fewer days"
    with pytest.raises(EnvironmentProblem, match=sentence), late.opened(FIRST, FIRST) as connection:
        connection.execute(endless)
    assert retention(acts, FIRST, FIRST, FIRST + timedelta(days=2)).days == ()
