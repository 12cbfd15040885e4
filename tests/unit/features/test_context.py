"""Laws of the context of events: what is a value, what is none, and that nothing is lost."""

from __future__ import annotations

import ipaddress
from unicodedata import category

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.context import CONTEXT_FIELDS, READ, context_of

TEXTS = pa.map_(pa.string(), pa.string())


@pytest.mark.parametrize(
    ("field", "sent", "kept"),
    [
        ("ip", "203.0.113.9", "203.0.113.9"),
        ("ip", " 203.0.113.9 ", "203.0.113.9"),
        ("ip", "2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
        ("ip", "fe80::1%eth0", "fe80::1"),
        ("ip", "::ffff:203.0.113.9", "203.0.113.9"),
        ("ip", "ha3f6a07e75b44b6b", "ha3f6a07e75b44b6b"),
        ("country", "de", "DE"),
        ("country", "DEU", "DE"),
        ("country", "xk", "XK"),
        ("outcome", "OK", "ok"),
        ("outcome", "failed", "failed"),
        ("user_agent", "Mozilla/5.0", "Mozilla/5.0"),
        ("device_id", "5", "5"),
        ("anonymous_id", "a-1", "a-1"),
    ],
)
def test_what_a_field_takes_it_writes_in_one_way(field: str, sent: str, kept: str) -> None:
    assert READ[field](sent) == kept


@pytest.mark.parametrize(
    ("field", "sent"),
    [
        ("ip", "203.0.113.9:443"), ("ip", "203.0.113.256"), ("ip", "1.2.3"), ("ip", "localhost"), ("ip", "010.0.0.1"),
        ("ip", "3405803785"), ("country", "Germany"), ("country", "UK"), ("country", "ZZ"), ("country", "\u00df"),
        ("country", "d\u0131"), ("outcome", "true"), ("outcome", "success"), ("user_agent", "x" * 1025),
        ("device_id", "x" * 257), ("anonymous_id", "x" * 257),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_none(field: str, sent: str) -> None:
    assert READ[field](sent) is None


def test_a_wrong_value_stays_as_it_was_sent_and_is_named() -> None:
    context, left = context_of(pa.array([[("country", "Narnia"), ("ip", "::1"), ("plan", "gold")]], TEXTS))
    assert context.ip.to_pylist() == ["::1"]
    assert context.country.to_pylist() == [None]
    assert context.invalid_fields.to_pylist() == [["country"]]
    assert left.to_pylist() == [[("country", "Narnia"), ("plan", "gold")]]


def test_nothing_is_looked_at_where_there_is_no_context() -> None:
    properties = pa.array([None, [("plan", "gold")]], TEXTS)
    context, left = context_of(properties)
    assert all(column.null_count == 2 for column in context)
    assert left is properties


values = st.one_of(
    st.none(),
    st.sampled_from(["", " ", "\u200b", "203.0.113.9", "::1", "DE", "fra", "ok", "FAILED", "no", "x" * 2000]),
    st.text(max_size=5),
)
maps = st.none() | st.dictionaries(st.sampled_from([*CONTEXT_FIELDS, "a", "$.ip"]), values, min_size=1, max_size=7)


@given(st.lists(maps, max_size=12), st.integers(0, 3))
def test_each_entry_is_a_column_or_a_property_or_blank(rows: list[dict[str, str | None] | None], skipped: int) -> None:
    array = pa.array([None if row is None else list(row.items()) for row in rows], TEXTS).slice(skipped)
    rows = rows[skipped:]
    context, left = context_of(array)
    columns = [column.to_pylist() for column in context[:-1]]
    for place, (row, properties, invalid) in enumerate(
        zip(rows, left.to_pylist(), context.invalid_fields.to_pylist(), strict=True)
    ):
        found = dict(zip(CONTEXT_FIELDS, (column[place] for column in columns), strict=True))
        expected, kept, wrong = _read_alone(row or {})
        assert found == expected
        assert dict(properties or ()) == kept
        assert (properties is None) == (not kept)
        assert (invalid or []) == wrong


def _read_alone(row: dict[str, str | None]) -> tuple[dict[str, str | None], dict[str, str | None], list[str]]:
    """The same of one event, one field after the other."""
    expected: dict[str, str | None] = dict.fromkeys(CONTEXT_FIELDS)
    kept, wrong = dict(row), []
    for name in CONTEXT_FIELDS:
        text = row.get(name)
        if name in row and (text is None or all(category(sign) in ("Zs", "Zl", "Zp", "Cc", "Cf") for sign in text)):
            del kept[name]
        elif text is not None:
            expected[name] = READ[name](text)
            if expected[name] is None:
                wrong.append(name)
            else:
                del kept[name]
    return expected, kept, wrong


@given(st.ip_addresses())
def test_every_address_is_taken_and_means_the_same(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    kept = READ["ip"](str(address))
    assert kept is not None
    assert ipaddress.ip_address(kept) == (getattr(address, "ipv4_mapped", None) or address)


def test_many_events_with_few_values_read_each_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def noted(text: str) -> str:
        calls.append(text)
        return text

    monkeypatch.setitem(READ, "ip", noted)
    addresses = np.random.default_rng(1).choice(["::1", "::2"], 1000)
    context_of(pa.array([[("ip", address)] for address in addresses], TEXTS))
    assert sorted(calls) == ["::1", "::2"]
