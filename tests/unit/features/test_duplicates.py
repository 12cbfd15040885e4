"""Repeated event ids, against a plain list that remembers everything."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from features.duplicates import POSITION, SLICES, SeenKeys, is_repeated, reject_repeated

WINDOW = 60
SECOND = 1_000_000
SLICE = WINDOW * SECOND // SLICES

Record = tuple[int | None, int]
"""Key and second of arrival."""
batches = st.lists(
    st.tuples(st.lists(st.tuples(st.none() | st.integers(0, 4), st.integers(0, 3)), max_size=6), st.integers(0, 100)),
    max_size=6,
)


def table(records: list[Record]) -> pa.Table:
    return pa.table(
        {
            "event_key": pa.array([key for key, _ in records], pa.int64()),
            "received_at": pa.array([at for _, at in records], pa.int64()),
            "topic": ["t"] * len(records),
            "partition": [0] * len(records),
            "offset": range(len(records)),
            "part": pa.nulls(len(records), pa.int32()),
        }
    )


@given(batches)
def test_the_first_by_arrival_within_the_window_stays(stream: list[tuple[list[Record], int]]) -> None:
    seen, now = SeenKeys(WINDOW), 1_000 * SECOND
    accepted: list[tuple[int, int]] = []
    for records, pause in stream:
        now += pause * SECOND
        repeated = is_repeated(table(records), seen, now)
        known = {key for key, at in accepted if at // SLICE >= now // SLICE - SLICES}
        for place in sorted(range(len(records)), key=lambda i: (records[i][1], i)):
            key = records[place][0]
            assert repeated[place] == (key is not None and key in known)
            if key is not None:
                known.add(key)
        fresh = [key for (key, _), again in zip(records, repeated, strict=True) if key is not None and not again]
        accepted += [(key, now) for key in fresh]
        seen.add(np.array(fresh, np.int64), now)


def test_an_id_counts_anew_after_the_window_and_not_before() -> None:
    seen, start = SeenKeys(WINDOW), 1_000 * SECOND
    seen.add(np.array([7], np.int64), start)
    key = np.array([7], np.int64)
    assert seen.contain(key, start + WINDOW * SECOND).all()
    assert not seen.contain(key, start + (WINDOW + 2) * SECOND).any()


def test_without_a_window_only_the_batch_itself_is_looked_at() -> None:
    seen = SeenKeys(0)
    seen.add(np.array([7], np.int64), 5)
    assert is_repeated(table([(7, 0), (7, 1), (None, 2)]), seen, 5).tolist() == [False, True, False]


@given(st.lists(st.lists(st.integers(-99, 99), max_size=9), max_size=5))
def test_every_id_of_one_moment_is_known_however_many_batches_brought_it(added: list[list[int]]) -> None:
    seen, now = SeenKeys(WINDOW), 1_000 * SECOND
    for keys in added:
        seen.add(np.array(keys, np.int64), now)
    asked = np.arange(-100, 101)
    assert set(asked[seen.contain(asked, now)]) == {key for keys in added for key in keys}


Place = tuple[str, int, int, int | None]
"""Topic, partition, offset, and which event of its record."""
one_place = st.tuples(st.sampled_from("tu"), st.integers(0, 1), st.integers(0, 9), st.sampled_from((None, 1, 2)))
places = st.lists(one_place, max_size=12, unique=True)


def columns_of(some: list[Place]) -> dict[str, pa.Array]:
    kinds = (pa.string(), pa.int32(), pa.int64(), pa.int32())
    return {
        name: pa.array([place[at] for place in some], kind)
        for at, (name, kind) in enumerate(zip(POSITION, kinds, strict=True))
    }


@given(places, places)
def test_what_is_repeated_is_rejected_at_its_place_and_nothing_else_changes(
    there: list[Place], repeated: list[Place]
) -> None:
    texts = {
        "reason": (None, "empty"),
        "field": (None, None),
        "detail": (None, "0 bytes"),
        "event_id": ("é" * 200, None),
    }
    columns = {name: pa.array([pair[n % 2] for n in range(len(there))], pa.string()) for name, pair in texts.items()}
    records = pa.table({**columns, **columns_of(there)})
    found = reject_repeated(records, pa.table(columns_of(repeated)).sort_by("offset"))
    for place, row, before in zip(there, found.to_pylist(), records.to_pylist(), strict=True):
        told = {"reason": "duplicate_event_id", "field": "event_id", "detail": before["event_id"] and "é" * 100}
        assert row == (before | told if place in repeated else before)
