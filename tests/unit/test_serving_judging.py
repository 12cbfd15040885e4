"""The collector judges as ingest does: the same cases, and the corners where two JSON parsers may differ."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.events import REASONS
from serving.judging import Fault, Verdict, judge, micros
from tests.unit.event_cases import ACCEPTED, GOOD, REJECTED, RULES, at, event, nested

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
WIDE = replace(RULES, max_bytes=1_000_000)
AT_THE_DOOR = {sentence: (value, reason) for sentence, (value, reason) in REJECTED.items() if value is not None}
"""A tombstone has no value at all: HTTP cannot send one."""


def verdict(value: bytes) -> Verdict:
    return judge(value, RULES, NOW)


def fault(value: bytes) -> Fault:
    found = verdict(value).fault
    assert found is not None, value
    return found


def with_member(member: bytes) -> bytes:
    return event()[:-1] + b", " + member + b"}"


@pytest.mark.parametrize("sentence", AT_THE_DOOR)
def test_what_ingest_rejects_is_rejected_for_the_same_reason(sentence: str) -> None:
    value, reason = AT_THE_DOOR[sentence]
    assert fault(value).reason == reason


@pytest.mark.parametrize("sentence", ACCEPTED)
def test_what_ingest_accepts_is_accepted(sentence: str) -> None:
    value, expected = ACCEPTED[sentence]
    assert verdict(value) == Verdict(None, expected.get("user_id", GOOD["user_id"]))


def test_only_reasons_of_ingest_are_given() -> None:
    assert {fault(value).reason for value, _ in AT_THE_DOOR.values()} == REASONS.keys() - {
        "tombstone",
        "duplicate_event_id",
        "erased_user",
    }


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (event(user_id=5), Fault("wrong_type", "user_id", "found a number: 5; needed a string")),
        (event(properties="x"), Fault("wrong_type", "properties", 'found a string: "x"; needed an object')),
        (event(page=None), Fault("missing_field", "page", "is null")),
        (event().replace(b"user_id", b"User_Id"), Fault("missing_field", "user_id", 'not there, but "User_Id" is')),
        (event().replace(b"user_id", b"usrid"), Fault("missing_field", "user_id", 'not there, but "usrid" is')),
        (event().replace(b"user_id", b"person"), Fault("missing_field", "user_id", "not there")),
        (with_member(b'"page": "b"'), Fault("duplicate_key", "page", "more than one value")),
        (with_member(b'"x": [{"a": 1, "a": 1}]'), Fault("duplicate_key", "x", "a key twice within it")),
        (with_member(b'"p\\u0061ge": 1'), Fault("duplicate_key", "page", "more than one value")),
        (with_member(b'"x": {"y": [-1e999]}'), Fault("wrong_type", "x", "a number beyond any range")),
        (with_member(b'"x": -INF'), Fault("wrong_type", "x", "NaN or Infinity, which is no JSON number")),
        (b"[]", Fault("not_an_object", None, "found an array")),
        (b'{"a": 1', Fault("not_json", None, "cut off: no } at the end")),
        (b"\xef\xbb\xbf{}", Fault("not_json", None, "starts with a byte-order mark")),
    ],
)
def test_field_and_detail_say_what_ingest_says(value: bytes, expected: Fault) -> None:
    assert fault(value) == expected


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (with_member(b'"x": 01'), "not_json"),
        (with_member(b'"x": 1NaN'), "not_json"),
        (with_member(b'"x": -NaN'), "not_json"),
        (with_member(b'"x": .5'), "not_json"),
        (with_member(b'"x": 1,'), "not_json"),
        (with_member(b"'x': 1"), "not_json"),
        (with_member(b'"x": "\\x41"'), "not_json"),
        (b"[NaN]", "not_json"),
        (b"1 2", "not_json"),
        (event() + b"\0", "trailing_data"),
        (b"\xc2\xa0" + event(), "not_json"),
        (b"\xe2\x80\xa8", "empty"),
        (with_member(b'"x": ' + b"1" * 1001), "too_large"),
        (with_member(b'"x": "\\ude00\\ud83d"'), "not_utf8"),
        (with_member(b'"x": "\xed\xa0\xbd"'), "not_utf8"),
        (with_member(b'"x": NaN, "x": 1'), "wrong_type"),
        (nested(7), None),
        (nested(8), "too_deep"),
        (b"[" * 9 + b"]" * 9, "too_deep"),
        (b"[" * 4000, "too_deep"),
        (event(user_id="\u200b\u2029"), "empty_user_id"),
        (event(sent_at=5), "bad_timestamp"),
        (event(sent_at="2024-10-05T12:00:00"), "naive_timestamp"),
        (event(timestamp="1999-12-31T23:59:59.999999Z", sent_at="x"), "bad_timestamp"),
        (at("1999-12-31T23:59:59.999999Z"), "timestamp_out_of_range"),
        (at("2000-01-01T00:00:00Z"), "arrived_too_late"),
        (at("2000-02-17T11:59:59.999999Z"), "arrived_too_late"),
        (at("2000-02-17T12:00:00Z"), None),
        (event(sent_at="2000-01-01T00:00:00Z"), None),
        (at("2026-01-01T13:00:00Z"), None),
        (at("2026-01-01T13:00:00.000001Z"), "timestamp_out_of_range"),
        (at("0000-02-29T00:00:00Z"), "timestamp_out_of_range"),
        (at("0000-02-30T00:00:00Z"), "bad_timestamp"),
        (at("2024-10-05T12:00:00+18:01"), "bad_timestamp"),
        (at("2024-10-05T12:00:00+18:00"), None),
        (at("2024-10-05T12:00:00+0560"), "bad_timestamp"),
        (at("2024-10-05T12:00:00Z\n"), "bad_timestamp"),
        (at("2024-10-05T12:00:00.1234567890Z"), "bad_timestamp"),
        (at("\u0662024-10-05T12:00:00Z"), "bad_timestamp"),
        (at("2024-10-05 12:00z"), None),
        (with_member(b'"x": "\\\\ud83d"'), None),
        (with_member(b'"x": "\\\\u0000"'), None),
        (with_member(b'"x": ' + b"1" * 1000), "wrong_type"),
        (with_member(b'"x": 1e308'), None),
        (with_member(b'"x": "\x7f"'), None),
        (event(event_id=""), None),
    ],
)
def test_corners_of_json_and_of_times(value: bytes, reason: str | None) -> None:
    found = verdict(value).fault
    assert (found and found.reason) == reason


def test_an_endless_name_is_too_large() -> None:
    long = judge(with_member(b'"' + b"x" * 50_000 + b'": 1'), WIDE, NOW).fault
    assert long is not None
    assert long.reason == "too_large"
    assert judge(with_member(b'"' + b"x" * 49_999 + b'": 1'), WIDE, NOW).fault is None


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "part", [b'\\"', b"[", b"{", b'"', b"\\", b"-", b"1e", b'"":', b"\\u00", b'{"a":', b"NaN,", b"\xf0"]
)
def test_no_text_takes_long_to_judge(part: bytes) -> None:
    """A reading whose time grows with the square of the length takes minutes on these."""
    begin = time.process_time()
    for start in (b"", b'{"a": ', b'{"a": "'):
        judge(start + part * (900_000 // len(part)), WIDE, NOW)
    assert time.process_time() - begin < 5


@given(
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 3), st.binary(max_size=4)), min_size=1, max_size=4),
    st.sampled_from([value for value, _ in ACCEPTED.values()]),
)
def test_a_mutated_event_is_judged_and_what_passes_keeps_the_contract(
    cuts: list[tuple[int, int, bytes]], value: bytes
) -> None:
    for begin, length, new in cuts:
        value = value[:begin] + new + value[begin + length :]
    found = verdict(value)
    if found.fault is not None:
        assert found.fault.reason in REASONS
        assert len(found.fault.detail or "") <= 200
        return
    record = json.loads(value)
    assert record["user_id"] == found.user_id
    assert all(isinstance(record[name], str) and record[name] for name in GOOD)


@given(st.datetimes(timezones=st.timezones()))
def test_a_moment_is_read_to_the_microsecond(moment: datetime) -> None:
    offset = moment.utcoffset() or timedelta()
    if offset % timedelta(minutes=1):  # before railways, zones had seconds, which ISO-8601 has not
        return
    since = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert micros(moment.isoformat()) == since
