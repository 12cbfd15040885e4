"""Spans of time whose tiles bear on people's events and rows."""

from __future__ import annotations

import pyarrow as pa

from features.merging import MINUTE_MICROS
from streams.look_back import look_back
from tests.unit.features.test_kernel import SHORT

HOUR = 60 * MINUTE_MICROS


def test_a_long_span_takes_in_all_that_begin_within_it_and_no_time_of_a_user_is_in_two() -> None:
    spans = [("ada", 5, 90), ("ada", 10, 11), ("ada", 50, 51), ("ada", 200, 200), ("bob", 10, 11), ("bob", 50, 51)]
    people = pa.table({
        "user_id": [user for user, _, _ in spans],
        "first": pa.array([first * HOUR for _, first, _ in spans]),
        "last": pa.array([last * HOUR for _, _, last in spans]),
    })  # fmt: skip
    found = {
        (row["user_id"], row["since"] // HOUR, row["until"] // HOUR) for row in look_back(people, SHORT).to_pylist()
    }
    assert found == {("ada", 4, 91), ("ada", 199, 201), ("bob", 9, 12), ("bob", 49, 52)}
