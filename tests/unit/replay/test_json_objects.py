"""A line as a JSON object: what the standard library reads, whichever library reads it."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from replay.json_objects import object_in


def of_members(members: list[tuple[str, str]]) -> str:
    """An object; a name may come twice."""
    return "{" + ",".join(f"{name}: {value}" for name, value in members) + "}"


digits = st.text("0123456789", min_size=1, max_size=25)
numbers = st.builds(
    "".join, st.tuples(st.sampled_from(["", "-"]), digits, st.sampled_from(["", ".0", ".25", "e3", "E-400", "e400"]))
)
escapes = st.sampled_from(["\\ud800", "\\udc00", "\\ud83d\\ude00", "\\u0000", "\\u00e9", '\\"', "\\/", "\\x", "\x01"])
texts = st.lists(st.text(max_size=3) | escapes, max_size=3).map(lambda parts: f'"{"".join(parts)}"')
names = st.sampled_from(['"a"', '"b"', '"\\u0061"', '"\\ud800"', '""'])
values = st.recursive(
    numbers | texts | st.sampled_from(["NaN", "Infinity", "-Infinity", "null", "true", "nul"]),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda found: f"[{', '.join(found)}]")
        | st.lists(st.tuples(names, inner), max_size=3).map(of_members)
    ),
    max_leaves=8,
)


objects = st.lists(st.tuples(names, values), max_size=4).map(of_members)
encodings = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32-le", "latin-1"])


def by_the_standard_library(line: bytes) -> dict[str, object] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


@given(objects | values, encodings, st.data())
@settings(max_examples=300, deadline=None)
@example('{"a": 18446744073709551616, "b": -9223372036854775809, "c": -0, "d": -0.0}', "utf-8", None)
@example('{"a": 1, "a": 2}', "utf-8", None)
@example('{"a": 1e400, "b": NaN, "c": "\\ud800"}', "utf-8", None)
def test_a_line_is_read_as_the_standard_library_reads_it(text: str, encoding: str, data: st.DataObject | None) -> None:
    line = text.encode(encoding, "surrogatepass" if encoding == "utf-8" else "replace")
    if data is not None and data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(line)))
        line = line[:at] + data.draw(st.binary(max_size=2)) + line[at + data.draw(st.integers(0, 2)) :]
    # As texts: 1 and 1.0 are equal, and two NaNs are not.
    assert repr(object_in(line)) == repr(by_the_standard_library(line))


@pytest.mark.parametrize("levels", [1, 899, 900, 1010, 100_000])
def test_how_deep_objects_are_followed_is_the_standard_library_s(levels: int) -> None:
    line = b'{"a":' * levels + b"1" + b"}" * levels
    assert (object_in(line) is None) == (by_the_standard_library(line) is None)
    line = b'{"a":' + b"[" * levels + b"]" * levels + b"}"
    assert (object_in(line) is None) == (by_the_standard_library(line) is None)


def test_a_number_of_more_digits_than_python_reads_is_no_json() -> None:
    assert object_in(b'{"a": ' + b"1" * 5000 + b"}") is None
