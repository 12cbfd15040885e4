"""Ranges of offsets behave as the sets of offsets that they stand for."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from features.ledger import BUCKET, NO_RANGES, Range, Ranges, offsets_of

ranges = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 9)).map(lambda one: Range(one[0], one[0] + one[1])))


def offsets(known: Ranges) -> set[int]:
    return {offset for one in known for offset in range(one.first, one.until)}


@given(ranges, ranges)
def test_ranges_are_sets(one: list[Range], other: list[Range]) -> None:
    first, second = Ranges.of(one), Ranges.of(other)
    assert offsets(first) == {offset for each in one for offset in range(each.first, each.until)}
    assert offsets(first.within(second)) == offsets(first) & offsets(second)
    assert offsets(first.without(second)) == offsets(first) - offsets(second)
    for known in (first, first.within(second), first.without(second)):
        assert known.offsets == len(offsets(known)) == sum(map(len, known))
        assert all(len(each) for each in known)
        assert sorted(known, key=lambda each: each.first) == list(known)
    assert first.within(NO_RANGES) == NO_RANGES
    assert first.without(NO_RANGES) == first


@given(st.sets(st.integers(0, 3 * BUCKET) | st.integers(BUCKET - 3, BUCKET + 3)))
def test_bitmaps_are_read_as_they_were_written(there: set[int]) -> None:
    rows = []
    for bucket in {offset // BUCKET for offset in there}:
        bits = np.zeros(BUCKET, np.uint8)
        bits[[offset % BUCKET for offset in there if offset // BUCKET == bucket]] = 1
        rows.append({"bucket": bucket, "bitmap": np.packbits(bits, bitorder="little").tobytes()})
    found = offsets_of(pd.DataFrame(rows, columns=["bucket", "bitmap"]))
    assert offsets(found) == there
    assert list(found) == list(Ranges.of(Range(offset, offset + 1) for offset in there))


def test_ranges_of_two_bitmaps_that_touch_are_one() -> None:
    full = np.full(BUCKET // 8, 255, np.uint8).tobytes()
    rows = pd.DataFrame({"bucket": [1, 0, 3], "bitmap": [full, full, full]})
    assert list(offsets_of(rows)) == [Range(0, 2 * BUCKET), Range(3 * BUCKET, 4 * BUCKET)]
