"""What the collector adds to events: only what they do not say themselves."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from features.context import CONTEXT_FIELDS
from serving.routes.collector import validate_all
from tests.unit.features.event_cases import GOOD, RULES, event
from tests.unit.features.test_records import table_of

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
REQUEST = {"ip": "203.0.113.9", "user_agent": 'Mozilla "5" \u00e9'}


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ({}, REQUEST),
        ({"ip": "::1"}, {"ip": "::1", "user_agent": REQUEST["user_agent"]}),
        ({"properties": {"ip": "::1"}}, {"ip": "::1", "user_agent": REQUEST["user_agent"]}),
        ({"ip": None}, {"user_agent": REQUEST["user_agent"]}),
        ({"ip": "none", "plan": "gold"}, {"user_agent": REQUEST["user_agent"], "invalid_fields": ["ip"]}),
        ({"properties": {}}, REQUEST),
    ],
)
def test_an_event_gets_what_it_does_not_say(sent: dict[str, object], kept: dict[str, object]) -> None:
    text = event(**sent)
    (_, (_, value)), *_ = validate_all([text], RULES, NOON, REQUEST).good
    assert value.startswith(text.rstrip()[:-1])
    row = table_of([value]).to_pylist()[0]
    assert row["reason"] is None
    assert {name: row[name] for name in (*CONTEXT_FIELDS, "invalid_fields") if row[name]} == kept
    assert {name: row[name] for name in ("user_id", "action", "page")} == {
        name: GOOD[name] for name in ("user_id", "action", "page")
    }


def test_nothing_is_added_where_it_would_make_an_event_too_large() -> None:
    text = event(filler="x" * (RULES.max_bytes - len(event(filler=""))))
    (_, (_, value)), *_ = validate_all([text], RULES, NOON, REQUEST).good
    assert value == text


def test_without_a_context_the_bytes_are_those_that_came() -> None:
    text = json.dumps(GOOD, indent=2).encode()
    assert validate_all([text], RULES, NOON).good[0][1][1] == text
