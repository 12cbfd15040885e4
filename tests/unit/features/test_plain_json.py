"""Laws of the compiled pass: what it takes is an event with every value as sent; in any doubt it takes nothing."""

from __future__ import annotations

import json
import random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.events import FIELDS, TIMES
from features.plain_reading import plain_readings
from features.validation import Event, micros, validate_value
from tests.unit.features.event_cases import ACCEPTED, NOON, REJECTED, RULES, event
from tests.unit.features.json_reference import expected, record, spoiled


def read(values: list[bytes | None]) -> list[dict[str, Any] | None]:
    times = pa.array([NOON] * len(values), pa.int64())
    found = plain_readings(pa.array(values, pa.binary()), times, times, RULES)
    found.validate(full=True)
    numbers = [pa.field(one.name, pa.int64() if one.name in TIMES else one.type) for one in found.type]
    rows: list[dict[str, Any] | None] = found.cast(pa.struct(numbers)).to_pylist()
    return rows


@given(st.integers(0, 2**32))
@settings(max_examples=20)
def test_what_is_taken_the_validator_takes_as_well_with_every_value_as_sent(seed: int) -> None:
    chance = random.Random(seed)
    values = [spoiled(chance, record(chance, number), 5_000) for number in range(150)]
    values += [json.dumps(record(chance, number), ensure_ascii=chance.random() < 0.5).encode() for number in range(150)]
    taken = 0
    for value, row in zip(values, read(values), strict=True):
        if row is None or value is None:
            assert row is None
            continue
        taken += 1
        found = row | {"properties": dict(row["properties"] or ()) or None}
        assert Event(**found) == validate_value(value, RULES, NOON, NOON), value
        assert found == expected(value) | {"action": json.loads(value)["action"]}, value
    assert taken > 20


def test_nothing_that_is_no_event_is_taken() -> None:
    assert read([value for value, *_ in REJECTED.values()]) == [None] * len(REJECTED)


@pytest.mark.parametrize("sentence", [name for name in ACCEPTED if name != "characters of four bytes"])
def test_ordinary_events_are_taken(sentence: str) -> None:
    (row,) = read([ACCEPTED[sentence][0]])
    assert row is not None
    assert row.keys() == set(FIELDS)


@pytest.mark.parametrize(
    "value",
    [
        event(geo={"lat": 52.5, "lon": [13, {"a": "b", "c": None}]}, tags=[], more={}),
        event(page="/caf\u00e9/\U0001f600", properties={"\u00fc": "\u5b57", "n": -1.50, "t": True, "x": None}),
        json.dumps(json.loads(event(page="a\U0001f600\u00e9\n/", x='\t"\\')), indent=1).encode(),
    ],
)
def test_nested_values_numbers_and_escapes_are_kept(value: bytes) -> None:
    (row,) = read([value])
    assert row is not None
    assert row | {"properties": dict(row["properties"])} == expected(value)


@pytest.mark.parametrize(
    "spoilt",
    [
        b'{"a":{"k":1,"k":2},', b'{"a":[{"k":1,"\\u006b":2}],', b'{"\\u0070age":"x",', b'{"a":1e400,', b'{"a":01,',
        b'{"a":"\\udc00",',
        b'{"a":"\\ud83d\\u0041",',
        b'{"a":"\\ud83d",', b'{"a":"\\u0000",', b'{"a":"\xed\xa0\x80",', b'{"a":"\xc0\xaf",', b'{"a":[1,],',
        b'{"a":[}],',
        b'{"a":tru,', b'{"a":"\\x",', b'{"a" 1,', b'{,', b'[{', b'{"properties":{"a":1},"a":2,',
    ],
)  # fmt: skip
def test_any_doubt_leaves_the_record_to_the_validator(spoilt: bytes) -> None:
    assert read([event(), spoilt + event()[1:], event()])[1] is None


TIMES_TAKEN = ["2024-02-29T00:00:00Z", "2000-02-29T23:59:59.9+18:00", "2024-10-05T06:30:00.123456789-05:30"]
TIMES_TAKEN += ["2025-12-31T23:59:59.000001-00:01", "2001-03-01T00:00:00+05:30", "2020-12-31T00:00:00Z"]
TIMES_LEFT = ["2023-02-29T00:00:00Z", "2024-04-31T00:00:00Z", "2024-00-10T00:00:00Z", "2024-13-01T00:00:00Z"]
TIMES_LEFT += ["2024-10-05T12:00:00+18:01", "2024-10-05T12:00:00+05:60", "2024-10-05T12:00:00.1234567890Z"]
TIMES_LEFT += ["2024-10-05T24:00:00Z", "2024-10-05T12:60:00Z", "2024-10-05T12:00:60Z", "2024-10-05T12:00:00.Z"]


def test_a_time_is_the_instant_the_validator_finds_and_one_that_does_not_exist_is_left() -> None:
    rows = read([event(timestamp=text) for text in TIMES_TAKEN])
    assert [row and row["timestamp"] for row in rows] == [micros(text) for text in TIMES_TAKEN]
    assert read([event(timestamp=text) for text in TIMES_LEFT]) == [None] * len(TIMES_LEFT)


@pytest.mark.parametrize("end", [b"x", b"}", b",{}", b" {", b"\x00"])
def test_nothing_may_follow(end: bytes) -> None:
    assert read([event() + end]) == [None]
    assert read([b" \n" + event() + b"\r\n "]) != [None]


def test_a_value_cut_anywhere_is_not_taken_and_its_neighbours_are() -> None:
    whole = event(event_id="e", properties={"a": "\u00fc\n"}, x=[1, {"y": None}])
    values: list[bytes | None] = [whole[:end] for end in range(len(whole))]
    rows = read([one for value in values for one in (value, whole)])
    assert rows[::2] == [None] * len(values)
    assert all(row == rows[1] is not None for row in rows[1::2])
