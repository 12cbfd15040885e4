"""The small files of ../shared/inputs, each of which stands for a kind that once failed."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from features.events import DEFAULT_RULES, micros_of
from features.schemas.mapping import mapping_of
from features.schemas.proposals import proposed
from features.sense import doubts
from features.validation import Event, Rejection, validate_value
from features.verdicts import Source, verdict_of
from replay.file_lines import lines
from replay.file_replay import replay
from replay.formats.base import ReadingOptions
from tests.paths import INPUTS
from tests.unit.replay.test_replay import KEY, Memory

pytestmark = pytest.mark.skipif(not INPUTS.is_dir(), reason=f"no files in {INPUTS}")
NOW = micros_of(datetime.now(UTC))


def sent(name: str, **options: Any) -> tuple[list[Event], list[Rejection], Memory]:
    """What ingest says of what a replay sends."""
    producer = Memory()
    replay(INPUTS / name, producer, key=lambda: KEY, **options)
    found = [validate_value(value, DEFAULT_RULES, NOW, None) for value, _ in producer.records]
    events = [one for one in found if isinstance(one, Event)]
    return events, [one for one in found if isinstance(one, Rejection)], producer


def users(name: str, **options: Any) -> int:
    events, rejected, _ = sent(name, **options)
    assert not rejected
    return len({event.user_id for event in events})


@pytest.mark.parametrize("name", ["vhost_combined", "host_first", "syslog_day_15"])
def test_two_visitors_are_two(name: str) -> None:
    assert users(f"two_visitors_{name}.log") == 2


def test_behind_a_proxy_two_visitors_are_two_by_a_setting_and_without_it_there_is_a_warning() -> None:
    name = "two_visitors_nginx_main_behind_proxy.log"
    assert users(name, options=ReadingOptions(client_field="forwarded")) == 2
    done = replay(INPUTS / name, Memory(), key=lambda: KEY)
    assert "--client-field forwarded" in done.notes[0]


@pytest.mark.parametrize("name", ["container_times", "forwarded_list"])
def test_one_visitor_is_one(name: str) -> None:
    assert users(f"one_visitor_{name}.log") == 1


@pytest.mark.parametrize(
    "name",
    [
        "refused_common_with_duration.log",
        "refused_iso8601_time.log",
        "refused_request_time_before_referer.log",
        "json_caddy.log",
    ],
)
def test_what_was_refused_is_taken(name: str) -> None:
    assert users(name) == 1


def test_lines_without_a_request_say_so_and_keep_no_address() -> None:
    events, rejected, producer = sent("no_request_keeps_address.log")
    assert (len(events), [one.reason for one in rejected]) == (1, ["no_request"] * 2)
    assert not any(b"203.0.113" in value for value, _ in producer.records)


def test_an_array_of_two_events_is_two() -> None:
    events, rejected, _ = sent("events_pretty_array.json")
    assert (len(events), rejected) == (2, [])


def test_all_times_that_are_taken_are_moved() -> None:
    events, rejected, _ = sent("events_times_taken_but_not_shifted.jsonl", shift_to_now=True)
    assert (len(events), rejected) == (6, [])
    assert all(NOW - event.timestamp < timedelta(days=1) // timedelta(microseconds=1) for event in events)


def test_a_registrys_frame_is_named() -> None:
    value = (INPUTS / "event_schema_registry_framed.bin").read_bytes()
    verdict = validate_value(value, DEFAULT_RULES, NOW, None)
    assert isinstance(verdict, Rejection)
    assert "5-byte frame (schema id 7)" in str(verdict.detail)


def test_other_schemas_get_a_mapping_that_takes_all_of_them() -> None:
    values = [line.text for line in lines(INPUTS / "events_other_schemas.jsonl")]
    spec = proposed([json.loads(value) for value in values])
    assert spec is not None
    rules = replace(DEFAULT_RULES, mappings={"t": mapping_of("t", spec)})
    found = [verdict_of(value, rules, NOW, None, Source("t")) for value in values]
    assert [one.user_id for one in found if isinstance(one, Event)] == ["u1", "d", "u1", "7"]


def test_users_called_undefined_are_warned_of() -> None:
    done = replay(INPUTS / "events_user_undefined.jsonl", Memory(), key=lambda: KEY)
    (sentence,) = doubts(done.tally)
    assert "5 of 5 events are of users called" in sentence
