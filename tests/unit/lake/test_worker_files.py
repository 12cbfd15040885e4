"""Laws of the files that Python workers write for a Delta table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.counts import COUNT_NAMES
from features.merging import MARK, MASK, RECEIVED, add_up, coded, constant, ordered
from features.tables import TILES
from lake import worker_files
from lake.location import TableLocation
from lake.schemas import arrow_schema
from lake.worker_files import Bounds, TableFiles, lower, upper

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def tiles(times: Sequence[datetime], user: str | None = "ann") -> pa.Table:
    one: dict[str, Any] = {
        "user_id": user, "page": "/a", **dict.fromkeys(COUNT_NAMES, 1), "second_mask": 1, "session_mark": None,
        "last_received_at": None, "batch_time": NOON, "batch_id": "q:0",
    }  # fmt: skip
    open_schema = pa.schema([column.with_nullable(True) for column in arrow_schema(TILES)])
    return pa.Table.from_pylist([one | {"window_start": time} for time in times], schema=open_schema)


def described(folder: Path, *parts: pa.Table) -> list[dict[str, Any]]:
    with TableFiles(TableLocation(str(folder)), TILES) as files:
        for part in parts:
            files.write(part)
        return [json.loads(one)["add"] for one in files.finish()]


def test_what_is_written_is_read_again_and_counted(tmp_path: Path) -> None:
    rows = tiles([NOON + timedelta(minutes=minute) for minute in range(100)])
    coded = rows.set_column(0, "user_id", constant("ann", rows.num_rows))
    (add,) = described(tmp_path, coded, coded)
    found = pq.read_table(tmp_path / add["path"])
    assert found.equals(pa.concat_tables([rows, rows]).cast(found.schema))
    statistics = json.loads(add["stats"])
    assert statistics["numRecords"] == 200
    assert add["size"] == (tmp_path / add["path"]).stat().st_size
    assert (statistics["minValues"]["window_start"], statistics["maxValues"]["window_start"]) == (
        "2026-03-01T12:00:00.000Z", "2026-03-01T13:39:00.000Z",
    )  # fmt: skip
    assert "user_id" not in json.dumps(statistics)  # no erasure reaches the log


def test_names_that_came_as_codes_are_read_as_texts(tmp_path: Path) -> None:
    rows = tiles([NOON, NOON])
    names = pa.array(["ann", "bob", "nobody-here"])
    parts = [rows.set_column(0, "user_id", coded(np.array([at, at]), names)) for at in (0, 1)]
    (add,) = described(tmp_path, *parts)
    assert b"nobody-here" not in (tmp_path / add["path"]).read_bytes()  # an erasure rewrites files by their rows
    found = pq.read_table(tmp_path / add["path"])["user_id"]
    assert found.type == pa.string()
    assert found.to_pylist() == ["ann", "ann", "bob", "bob"]


def test_nothing_makes_no_file_and_much_makes_several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert described(tmp_path, tiles([])) == []
    monkeypatch.setattr(worker_files, "GROUP_BYTES", 1)
    monkeypatch.setattr(worker_files, "FILE_BYTES", 1)
    several = described(tmp_path, tiles([NOON]), tiles([NOON]))
    assert sum(json.loads(one["stats"])["numRecords"] for one in several) == 2
    assert len({one["path"] for one in several}) == 2


def test_a_required_column_with_a_null_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(pa.ArrowInvalid, match="user_id is required, and 1 of its values"):
        described(tmp_path, tiles([NOON], user=None))
    assert list(tmp_path.iterdir()) == []


values = st.one_of(
    st.lists(st.none() | st.text(max_size=40), min_size=1),
    st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), min_size=1),
    st.lists(st.none() | st.integers(0, 2**53).map(lambda micros: EPOCH + timedelta(microseconds=micros)), min_size=1),
)


@settings(max_examples=200, deadline=None)
@given(values)
def test_every_value_of_a_file_lies_within_its_bounds(column: list[Any]) -> None:
    """Else a read would skip a file that has what it looks for. Times count by their milliseconds, rounded down."""
    bounds, there = Bounds(), [value for value in column if value is not None]
    kind = pa.timestamp("us", tz="UTC") if there and isinstance(there[0], datetime) else None
    for value in column:
        bounds.take(pa.chunked_array([pa.array([value], kind)]))
    assert bounds.nulls == len(column) - len(there)
    if not there:
        assert bounds.least is None
        return
    as_written = [value.isoformat(timespec="microseconds").removesuffix("+00:00") if kind else value for value in there]
    least, greatest = lower(bounds.least), upper(bounds.greatest)
    trimmed = [bound.rstrip("Z") if kind else bound for bound in (least, greatest)]
    assert all(trimmed[0] <= value for value in as_written)
    assert all(value <= (trimmed[1] + "000" if kind else trimmed[1]) for value in as_written)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 2**40)] * 2, st.integers(0, 3)), min_size=1, max_size=30))
def test_the_order_is_that_of_the_keys_whether_they_fit_one_number_or_not(keys: list[tuple[int, int, int]]) -> None:
    found = ordered(*np.array(keys, np.int64).T.copy())
    assert [keys[at] for at in found] == sorted(keys)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.booleans(), st.integers(0, 9)), min_size=1))
def test_equal_keys_are_added_up_and_new_tiles_with_new_ones_only(parts: list[tuple[int, int, bool, int]]) -> None:
    user, minute, fresh, count = (np.array(column) for column in zip(*parts, strict=True))
    size, nothing = len(parts), np.zeros(len(parts), np.int64)
    keys, is_fresh = np.empty((3, size), np.int64), np.empty(size, np.bool_)
    sums = np.empty((RECEIVED + 1, size), np.int64)
    counts = np.column_stack([count] * len(COUNT_NAMES))
    order = ordered(user, minute, fresh.astype(np.int64))
    left = add_up(order, user, minute, nothing, fresh, counts, 1 << count, count, count, keys, sums, is_fresh)
    found = {
        (keys[0, at], keys[1, at], bool(is_fresh[at])): (sums[0, at], sums[MASK, at], sums[MARK, at])
        for at in range(left)
    }
    groups: dict[tuple[int, int, bool], list[int]] = {}
    for who, when, new, number in parts:
        groups.setdefault((who, when, new), []).append(number)
    assert len(found) == left
    assert found == {key: (sum(group), sum({1 << one for one in group}), max(group)) for key, group in groups.items()}
