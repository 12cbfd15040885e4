"""Own and lent tiles make the rows that one stream of all of them would make, however the events come."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.behavior import feature_rows
from features.definitions import FEATURE_NAMES
from features.folding import folded, people_in
from features.hashing import xxhash64
from features.identities import Links, links_in, rows_of
from features.lending import Lending, lending_of
from features.merging import LEAN, MINUTE_MICROS, merged
from features.tables import EVENTS
from features.tiles import FOLDED
from lake.schemas import arrow_schema
from streams.look_back import look_back, look_back_micros
from tests.unit.features.plain_features import Act, plain_features
from tests.unit.features.random_streams import acts
from tests.unit.features.test_kernel import SHORT

SCHEMA = pa.schema([arrow_schema(EVENTS).field(name) for name in (*FOLDED, "anonymous_id", "topic")])
Row = tuple[float, ...]
Rows = dict[tuple[str, int], Row]


@dataclass(frozen=True)
class Sent:
    """An event of a user, with what he was called before, where the app knows both."""

    user: str
    anonymous: str | None
    act: Act


sent = st.builds(
    Sent,
    user=st.sampled_from(["ada", "bob", "x", "y"]),
    anonymous=st.sampled_from([None, None, None, "x", "y"]),
    act=acts(),
)
streams = st.lists(sent, min_size=1, max_size=40, unique_by=lambda one: one.act.second)


def events_of(stream: Sequence[Sent]) -> pa.Table:
    fixed: dict[str, Any] = dict.fromkeys(SCHEMA.names)
    rows = [
        fixed
        | {
            "user_id": one.user, "anonymous_id": one.anonymous, "topic": "web", "action": one.act.action,
            "page": one.act.page, "session_id": one.act.session,
            "timestamp": datetime.fromtimestamp(one.act.second, UTC),
        }
        for one in stream
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, SCHEMA)


def plain_rows(stream: Sequence[Sent]) -> Rows:
    """Slowly: each minute of a user from his acts and those of each id that only he was linked to by then."""
    expected: Rows = {}
    for user, minute in {(one.user, one.act.minute) for one in stream}:
        linked: dict[str, set[str]] = {}
        for one in stream:
            if one.anonymous is not None and one.user != one.anonymous and one.act.minute <= minute:
                linked.setdefault(one.anonymous, set()).add(one.user)
        ids = {user, *(anonymous for anonymous, users in linked.items() if users == {user})}
        features = plain_features([one.act for one in stream if one.user in ids], SHORT)[minute]
        expected[user, minute] = tuple(features.values())
    return expected


def rows_in(table: pa.Table) -> Rows:
    minutes = pc.divide(table["window_start"].cast(pa.int64()), MINUTE_MICROS).to_pylist()
    values = zip(*(table[name].to_pylist() for name in FEATURE_NAMES), strict=True)
    keys = zip(table["user_id"].to_pylist(), minutes, strict=True)
    found = {
        key: tuple(float("nan") if one is None else one for one in row) for key, row in zip(keys, values, strict=True)
    }
    assert len(found) == table.num_rows, "a row was made twice"
    return found


def assert_same(found: Rows, expected: Rows) -> None:
    assert found.keys() == expected.keys()
    for key, row in expected.items():
        assert found[key] == pytest.approx(row, abs=1e-9, nan_ok=True), key


@dataclass
class Streamed:
    """Tables as micro-batches leave them, any of which may die between its commits and run again."""

    tiles: dict[int, pa.Table] = field(default_factory=dict)
    links: dict[int, pa.Table] = field(default_factory=dict)
    rows: dict[int, Rows] = field(default_factory=dict)

    def run(self, number: int, events: pa.Table, dies_before: str | None = None) -> None:
        known = Links()
        for table in self.links.values():
            known.add(rows_of(table))
        new = known.news(rows_of(links_in(events)))
        people = people_in(events, look_back_micros(SHORT))
        lending, people = lending_of(known, known.add(new), people, SHORT.look_back)
        fresh = folded(events)
        older = [near(table, look_back(people, SHORT)) for batch, table in self.tiles.items() if batch != number]
        rows = rows_in(feature_rows(merged(pa.concat_tables([fresh, *older])), SHORT, lending))
        for name, commit in (
            ("rows", lambda: self.rows.setdefault(number, rows)),
            ("links", lambda: self.links.setdefault(number, links_in(events))),
            ("tiles", lambda: self.tiles.setdefault(number, fresh)),
        ):
            if name == dies_before:
                return
            commit()

    @property
    def newest(self) -> Rows:
        return {key: row for number in sorted(self.rows) for key, row in self.rows[number].items()}


def near(tiles: pa.Table, spans: pa.Table) -> pa.Table:
    """What the look-back reads of a batch's tiles."""
    wanted = {(row["user_id"], row["since"], row["until"]) for row in spans.to_pylist()}
    at = zip(tiles["user_id"].to_pylist(), tiles["minute"].to_pylist(), strict=True)
    seen = [any(u == user and s <= m * MINUTE_MICROS < e for u, s, e in wanted) for user, m in at]
    old = tiles.filter(pa.array(seen, pa.bool_()))
    return old.set_column(LEAN.get_field_index("fresh"), "fresh", pa.array([False] * old.num_rows, pa.bool_()))


@settings(max_examples=150, deadline=None)
@given(streams)
def test_rows_of_all_at_once_are_those_of_one_stream_of_all_that_is_linked(stream: list[Sent]) -> None:
    events = events_of(stream)
    lending = Lending(frozenset(Links.of(rows_of(links_in(events))).loans()))
    assert_same(rows_in(feature_rows(merged(folded(events)), SHORT, lending)), plain_rows(stream))


deaths = st.lists(st.sampled_from([None, "rows", "links", "tiles"]), max_size=5)


@settings(max_examples=150, deadline=None)
@given(streams, st.integers(1, 5), deaths, st.randoms(use_true_random=False))
def test_events_and_links_in_any_order_and_batches_that_die_leave_the_rows_of_all_at_once(
    stream: list[Sent], batches: int, deaths: list[str | None], chance: random.Random
) -> None:
    parts: list[list[Sent]] = [[] for _ in range(batches)]
    for one in stream:
        chance.choice(parts).append(one)
    tables = Streamed()
    for number, part in enumerate(parts):
        if not part:
            continue
        if deaths and (death := deaths.pop()) is not None:
            tables.run(number, events_of(part), death)
        tables.run(number, events_of(part))
    assert_same(tables.newest, plain_rows(stream))


@pytest.mark.parametrize(
    "late", [Sent("bob", "x", Act(150)), Sent("bob", "x", Act(0)), Sent("ada", "x", Act(30)), Sent("x", None, Act(30))]
)
def test_what_is_known_late_makes_the_rows_anew_that_are_there(late: Sent) -> None:
    stream = [Sent("x", None, Act(60, page="/b")), Sent("ada", "x", Act(120)), Sent("ada", None, Act(300))]
    tables = Streamed()
    for number, one in enumerate([*stream, late]):
        tables.run(number, events_of([one]))
    assert_same(tables.newest, plain_rows([*stream, late]))


def test_those_who_lend_and_borrow_have_one_group_and_others_keep_their_own() -> None:
    events = events_of([
        Sent("ada", "x", Act(0)), Sent("x", "y", Act(60)), Sent("bob", "z", Act(60)), Sent("eve", None, Act(60))
    ])  # fmt: skip
    lending = Lending(frozenset(Links.of(rows_of(links_in(events))).loans()))
    groups = dict(zip(*(lending.groups[name].to_pylist() for name in ("user_id", "user_group")), strict=True))
    assert groups.keys() == {"ada", "x", "y", "bob", "z"}
    assert groups["ada"] == groups["x"] == groups["y"] != groups["bob"] == groups["z"]
    assert set(groups.values()) <= set(xxhash64(pa.array(["ada", "x", "y", "bob", "z"])).to_pylist())


def test_who_is_linked_to_nobody_costs_no_tile_of_others() -> None:
    stream = [Sent("ada", "x", Act(0)), Sent("eve", None, Act(60))]
    known = Links.of(rows_of(links_in(events_of(stream))))
    people = people_in(events_of([Sent("eve", None, Act(90))]), look_back_micros(SHORT))
    assert lending_of(known, [], people, SHORT.look_back) == (None, people)
