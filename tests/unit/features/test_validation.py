"""What the validator says of each class of input, and of the corners where JSON parsers differ."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.events import REASONS, micros_of
from features.validation import Event, Rejection, micros, validate_value
from tests.unit.features.event_cases import ACCEPTED, GOOD, NOON, REJECTED, RULES, at, event, nested

WIDE = replace(RULES, max_bytes=1_000_000)


def verdict(value: bytes | None) -> tuple[str | None, str | None, str | None]:
    """Reason, field and detail; all None of an event."""
    found = validate_value(value, RULES, NOON, NOON)
    return (None, None, None) if isinstance(found, Event) else found


def with_member(member: bytes) -> bytes:
    return event()[:-1] + b", " + member + b"}"


@pytest.mark.parametrize("sentence", REJECTED)
def test_what_is_no_event_is_rejected_with_its_reason_in_words(sentence: str) -> None:
    value, *told = REJECTED[sentence]
    assert [*verdict(value)] == told


@pytest.mark.parametrize("sentence", ACCEPTED)
def test_an_event_is_accepted(sentence: str) -> None:
    value, expected = ACCEPTED[sentence]
    found = validate_value(value, RULES, NOON, NOON)
    assert isinstance(found, Event)
    assert found.user_id == expected.get("user_id", GOOD["user_id"])


def test_all_reasons_but_those_that_need_the_tables_are_given() -> None:
    given = {verdict(value)[0] for value, *_ in REJECTED.values()}
    assert given == REASONS.keys() - {"undecodable", "duplicate_event_id", "erased_user"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (event(user_id=5), Rejection("wrong_type", "user_id", "found a number: 5; needed a string")),
        (event(properties="x"), Rejection("wrong_type", "properties", 'found a string: "x"; needed an object')),
        (event(page=None), Rejection("missing_field", "page", "is null")),
        (event().replace(b"user_id", b"User_Id"), Rejection("missing_field", "user_id", 'not there, but "User_Id" is')),
        (event().replace(b"user_id", b"usrid"), Rejection("missing_field", "user_id", 'not there, but "usrid" is')),
        (event().replace(b"user_id", b"person"), Rejection("missing_field", "user_id", "not there")),
        (with_member(b'"page": "b"'), Rejection("duplicate_key", "page", "more than one value")),
        (with_member(b'"x": [{"a": 1, "a": 1}]'), Rejection("duplicate_key", "x", "a key twice within it")),
        (with_member(b'"p\\u0061ge": 1'), Rejection("duplicate_key", "page", "more than one value")),
        (with_member(b'"x": {"y": [-1e999]}'), Rejection("wrong_type", "x", "a number beyond any range")),
        (with_member(b'"x": -INF'), Rejection("wrong_type", "x", "NaN or Infinity, which is no JSON number")),
        (b"[]", Rejection("not_an_object", None, "found an array")),
        (b'{"a": 1', Rejection("not_json", None, "cut off: no } at the end")),
        (b"\xef\xbb\xbf{}", Rejection("not_json", None, "starts with a byte-order mark")),
    ],
)
def test_field_and_detail_say_what_is_wrong(value: bytes, expected: Rejection) -> None:
    assert verdict(value) == expected


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
        (b"[" * 4000, "not_json"),
        (b"[" * 2000 + b"]" * 2000, "too_deep"),
        (b'{"a":' * 500 + b"1" + b"}" * 500, "too_deep"),
        (b'{"a":' * 500 + b"1" + b"}" * 499, "not_json"),
        (b'{"a":[' * 500 + b"NaN" + b"]}" * 500, "wrong_type"),
        (b'{"a":[' * 500 + b"INF" + b"]}" * 500, "not_json"),
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
        (at("2024-10-05T12:00:00Z\n"), None),
        (at("2024-10-05T12:00:00Z\r\n"), None),
        (at("2024-10-05T12:00:00\n"), "naive_timestamp"),
        (at("2024-10-05T12:00:00Z\n\n"), "bad_timestamp"),
        (at("2024-10-05T12:00:00Z\u2028"), "bad_timestamp"),
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
    assert verdict(value)[0] == reason


def test_an_endless_name_is_too_large() -> None:
    long, longest = (validate_value(with_member(b'"%s": 1' % (b"x" * n)), WIDE, NOON, NOON) for n in (50_000, 49_999))
    assert isinstance(long, Rejection)
    assert long.reason == "too_large"
    assert isinstance(longest, Event)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "part", [b'\\"', b"[", b"{", b'"', b"\\", b"-", b"1e", b'"":', b"\\u00", b'{"a":', b"NaN,", b"\xf0"]
)
def test_no_text_takes_long_to_validate(part: bytes) -> None:
    """A reading whose time grows with the square of the length takes minutes on these."""
    begin = time.process_time()
    for start in (b"", b'{"a": ', b'{"a": "'):
        validate_value(start + part * (900_000 // len(part)), WIDE, NOON, NOON)
    assert time.process_time() - begin < 5


@given(
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 3), st.binary(max_size=4)), min_size=1, max_size=4),
    st.sampled_from([value for value, _ in ACCEPTED.values()]),
)
def test_a_mutated_event_is_validated_and_what_passes_keeps_the_contract(
    cuts: list[tuple[int, int, bytes]], value: bytes
) -> None:
    for begin, length, new in cuts:
        value = value[:begin] + new + value[begin + length :]
    found = validate_value(value, RULES, NOON, NOON)
    if isinstance(found, Rejection):
        assert found.reason in REASONS
        assert len(found.detail or "") <= 200
        return
    record = json.loads(value)
    assert record["user_id"] == found.user_id
    assert all(isinstance(record[name], str) and record[name] for name in GOOD)


@given(st.datetimes(timezones=st.timezones()))
def test_a_moment_is_read_to_the_microsecond(moment: datetime) -> None:
    offset = moment.utcoffset() or timedelta()
    if offset % timedelta(minutes=1):  # before railways, zones had seconds, which ISO-8601 has not
        return
    assert micros(moment.isoformat()) == micros_of(moment)
