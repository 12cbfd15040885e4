"""Sinks that post: what a receiver gets, by the rules that it publishes; what is tried again, and what is given up."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from slack_sdk.models.blocks import Block

from alerts.sinks.pagerduty import pagerduty_event
from alerts.sinks.slack import MOST_SHOWN, slack_message
from alerts.sinks.teams import MAX_BYTES, teams_message
from features.errors import ConfigurationError
from tests.unit.alerts.sinks.receivers import REASONS, Asked, Receiver, alert, path_of, receiver, sink

PAGE = "https://page.example"


@pytest.fixture
def there() -> Iterator[Receiver]:
    with receiver() as one:
        yield one


def needs(name: str, there: Receiver) -> list[str]:
    """The settings of a sink that posts to this receiver."""
    return {
        "webhook": [f"alerts.webhook={there.url}/secret-path"],
        "slack": [f"sinks.slack_url={there.url}/services/secret-path"],
        "teams": [f"sinks.teams_url={there.url}/workflows/secret-path"],
        "pagerduty": [f"sinks.pagerduty_url={there.url}/v2/enqueue", "sinks.pagerduty_key=secret-path"],
        "jira": [
            f"sinks.jira_url={there.url}", "sinks.jira_user=ada@example.org", "sinks.jira_token=secret-path",
            "sinks.jira_project=SEC",
        ],
    }[name]  # fmt: skip


ALL = ("webhook", "slack", "teams", "pagerduty", "jira")


@pytest.mark.parametrize("name", ALL)
def test_one_that_is_away_is_asked_again_and_one_that_refuses_is_not(
    there: Receiver, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    one = sink(name, *needs(name, there))
    fails = iter([503, 429])
    there.answer = lambda _: (next(fails, 200), {"Retry-After": "0"}, {"issues": []})
    assert one.send([alert()]) == 0
    assert len(there.asked) == (4 if name == "jira" else 3)

    there.asked.clear()
    there.answer = lambda _: (400, {}, {"error": "no"})
    with caplog.at_level(logging.WARNING):
        assert one.send([alert()]) == 1
    assert len(there.asked) == 1, "it will never be taken"
    assert "after 1 attempts" in caplog.text
    assert "answered 400" in caplog.text

    there.asked.clear()
    there.answer = lambda _: (500, {"Retry-After": "0"}, {})
    assert one.send([alert()]) == 1
    assert len(there.asked) == 3
    assert "secret-path" not in caplog.text


@pytest.mark.parametrize("name", [one for one in ALL if one != "webhook"])
def test_without_what_it_needs_a_sink_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"Setting alerts\.sinks: found {name}, and no sinks\.{name}_"):
        sink(name)


def test_a_signature_tells_who_sent_a_body_and_when(there: Receiver) -> None:
    one = sink("webhook", *needs("webhook", there), "alerts.webhook_secret=known-to-both")
    assert one.send([alert()]) == 0
    (asked,) = there.asked
    at, _, told = asked.headers["x-behavior-signature"].partition(",")
    seconds = at.removeprefix("t=")
    signed = hmac.new(b"known-to-both", seconds.encode() + b"." + asked.body, hashlib.sha256).hexdigest()
    assert told == f"v1={signed}"
    assert asked.headers["idempotency-key"] == "690a6d48ab49bc84-1"


# --- Slack ---


def all_texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, one in value.items():
            yield from [one] if name == "text" and isinstance(one, str) else all_texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from all_texts(one)


@pytest.mark.parametrize("count", [1, MOST_SHOWN, 200])
def test_a_message_keeps_slacks_limits_and_no_text_of_events_is_markup(count: int) -> None:
    rows = [alert(f"a{n}", user_id="<@here> " + "u" * 5_000) for n in range(count)]
    message = slack_message(rows, PAGE)
    blocks = Block.parse_all(message["blocks"])
    assert 0 < len(blocks) <= 50
    for block in blocks:
        block.validate_json()
        assert block.to_dict() == message["blocks"][blocks.index(block)], "nothing that Slack does not know"
    assert all(one["text"]["type"] == "plain_text" for one in message["blocks"] if one["type"] == "section")
    assert "<@here>" not in message["text"]
    assert len(json.dumps(message)) < 100_000


def test_what_came_together_is_one_message_and_what_nobody_wants_none(there: Receiver) -> None:
    one = sink("slack", *needs("slack", there), f"sinks.page_url={PAGE}")
    assert one.send([alert("a", 1), alert("a", 2), alert("b", 3), alert("c", 1)]) == 0
    (asked,) = there.asked
    assert [block["type"] for block in asked.json["blocks"]] == ["section", "section"]
    assert asked.json["blocks"][0]["accessory"]["url"] == f"{PAGE}/timeline?user=ada"
    assert asked.json["text"].startswith("2 alerts, the first: ada: 212 clicks per minute")
    assert one.send([alert("a", 4)]) == 0
    assert len(there.asked) == 1


# --- Teams ---


def test_a_card_fits_and_has_texts_that_are_no_markup() -> None:
    rows = [alert(f"a{n}", user_id="[x](http://evil) **u**" * 3) for n in range(40)]
    message = teams_message(rows, PAGE)
    assert len(json.dumps(message).encode()) <= MAX_BYTES
    (attachment,) = message["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    kinds = {element["type"] for element in attachment["content"]["body"]}
    assert kinds == {"RichTextBlock", "ActionSet"}, "a TextBlock would read Markdown"
    assert list(all_texts(attachment["content"]["body"][-1])) == ["and 30 more"]
    long = [alert(f"a{n}", reasons=[{"text": "x" * 5_000}] * 3, user_id="u" * 9_000) for n in range(40)]
    assert len(json.dumps(teams_message(long, PAGE + "/" + "p" * 2_000)).encode()) <= MAX_BYTES


# --- PagerDuty ---


def test_an_incident_is_triggered_once_by_its_key_and_resolved_when_the_alert_is_over(there: Receiver) -> None:
    one = sink("pagerduty", *needs("pagerduty", there), f"sinks.page_url={PAGE}")
    rows = [alert("a", 1), alert("a", 2), alert("a", 3, state="closed"), alert("low", 1, anomaly_percentile=99.5)]
    assert one.send(rows) == 0
    actions = [(asked.json["dedup_key"], asked.json["event_action"]) for asked in there.asked]
    assert actions == [("a", "trigger"), ("a", "trigger"), ("a", "resolve")]
    event = there.asked[0].json
    assert event["payload"]["severity"] == "error"
    assert event["payload"]["custom_details"]["reasons"] == list(REASONS)
    assert event["links"] == [{"href": f"{PAGE}/timeline?user=ada", "text": "Time line"}]


def test_an_event_keeps_pagerdutys_rules() -> None:
    event = pagerduty_event(alert(user_id="u" * 5_000, reasons=[{"text": "x" * 5_000}]), "k" * 32, None)
    payload = event["payload"]
    assert {"summary", "source", "severity"} <= payload.keys()
    assert len(payload["summary"]) <= 1_024
    assert payload["severity"] in ("critical", "error", "warning", "info")
    assert len(event["dedup_key"]) <= 255
    assert len(json.dumps(event)) < 512_000


# --- Jira ---


class Jira:
    """Issues by label, as its REST API has them."""

    def __init__(self) -> None:
        self.issues: list[dict[str, Any]] = []
        self.comments: list[tuple[str, Any]] = []

    def answer(self, asked: Asked) -> tuple[int, dict[str, str], Any]:
        path = path_of(asked)
        if asked.method == "GET" and path == "/rest/api/3/search/jql":
            found = [one for one in self.issues if any(f"%22{label}%22" in asked.path for label in one["labels"][1:])]
            return 200, {}, {"issues": [{"key": f"SEC-{self.issues.index(one)}"} for one in found], "isLast": True}
        if path == "/rest/api/3/issue":
            fields = asked.json["fields"]
            assert fields["project"] == {"key": "SEC"}
            assert len(fields["summary"]) <= 255
            assert not any(" " in label for label in fields["labels"])
            assert fields["description"]["type"] == "doc"
            self.issues.append(fields)
            return 201, {}, {"key": f"SEC-{len(self.issues) - 1}"}
        assert path.endswith("/comment")
        self.comments.append((path.split("/")[-2], asked.json["body"]))
        return 201, {}, {}


def test_an_alert_is_one_issue_even_if_it_is_sent_again_and_a_comment_when_it_is_over(there: Receiver) -> None:
    jira = Jira()
    there.answer = jira.answer
    one = sink("jira", *needs("jira", there))
    for _ in range(2):  # as after a crash
        assert one.send([alert("a", 1), alert("b", 1, user_id="u" * 900), alert("a", 2)]) == 0
    assert [issue["labels"] for issue in jira.issues] == [
        ["behavior-alert", "behavior-alert-a"], ["behavior-alert", "behavior-alert-b"],
    ]  # fmt: skip
    assert one.send([alert("a", 3, state="closed"), alert("never told", 2, state="closed")]) == 0
    ((key, body),) = jira.comments
    assert key == "SEC-0"
    assert list(all_texts(body)) == ["The alert on ada is over"]
    assert there.asked[0].headers["authorization"].startswith("Basic ")
