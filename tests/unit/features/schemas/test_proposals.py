"""A mapping is proposed from the names and the values of fields, and what it makes of its records are events."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import pytest

from features.events import DEFAULT_RULES
from features.schemas.mapping import mapping_of
from features.schemas.proposals import proposed
from features.validation import Event
from features.verdicts import Source, verdict_of

OWN = [
    {"customer": "c1", "what": {"verb": "bought"}, "where": {"url": "https://x/a?b"}, "occurredAt": 1760529600000},
    {"customer": "c2", "what": {"verb": "seen"}, "where": {"url": "https://x/b"}, "occurredAt": 1760529600001},
]


def events(records: list[dict[str, Any]], spec: dict[str, Any]) -> list[Event]:
    rules = replace(DEFAULT_RULES, mappings={"topic": mapping_of("topic", spec)})
    now, source = time.time_ns() // 1000, Source("topic")
    found = [verdict_of(json.dumps(one).encode(), rules, now, None, source) for one in records]
    return [one for one in found if isinstance(one, Event)]


def test_a_schema_of_its_own_gets_a_mapping_that_fits() -> None:
    spec = proposed(OWN)
    assert spec is not None
    found = events(OWN, spec)
    assert [one[:3] for one in found] == [("c1", "bought", "/a"), ("c2", "seen", "/b")]
    assert [one.timestamp for one in found] == [1760529600000000, 1760529600001000]


def test_records_of_several_schemas_get_one_that_takes_all_of_them() -> None:
    mixed: list[dict[str, Any]] = [
        {"type": "track", "userId": "u1", "event": "Seen", "messageId": "m", "timestamp": "2025-10-15T12:00:00.1Z"},
        {"event": "$pageview", "distinct_id": "d", "timestamp": "2025-10-15T12:00:00Z"},
        {"user_id": "u1", "event_type": "view", "time": 1760529600000},
    ]
    spec = proposed(mixed)
    assert spec is not None
    assert [one.user_id for one in events(mixed, spec)] == ["u1", "d", "u1"]


@pytest.mark.parametrize(
    "records", [[], [{"a": 1}], [{"user": "u"}], [{"time": 1760529600}], [{"user": "u", "ts": "x"}]]
)
def test_where_no_user_or_no_time_is_found_nothing_is_proposed(records: list[dict[str, Any]]) -> None:
    assert proposed(records) is None


def test_the_likelier_name_and_the_value_that_is_a_time_go_first() -> None:
    spec = proposed(
        [{"id": "e1", "name": "Ann", "user_id": "u1", "time": "noon", "created_at": "2025-10-15T12:00:00Z"}]
    )
    assert spec is not None
    assert (spec["user_id"], spec["timestamp"], spec["event_id"]) == ("user_id", "created_at", "id")


def test_an_id_that_stands_in_for_an_unknown_user_is_what_he_was_called_before() -> None:
    records = [
        {"userId": "u1", "anonymousId": "a1", "event": "Seen", "timestamp": "2025-10-15T12:00:00Z"},
        {"anonymousId": "a2", "event": "Seen", "timestamp": "2025-10-15T12:00:00Z"},
    ]
    spec = proposed(records)
    assert spec is not None
    assert spec["anonymous_id"] == "anonymousId"
    assert [one.user_id for one in events(records, spec)] == ["u1", "a2"]
    assert "anonymous_id" not in (proposed(OWN) or {})
