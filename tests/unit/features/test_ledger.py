"""Ranges of offsets behave as the sets of offsets that they stand for."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from features.ledger import NO_RANGES, WORD, WORDS_AT_A_TIME, Range, Ranges, offsets_of

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


@given(st.sets(st.integers(0, 60)))
def test_offsets_that_follow_one_another_are_one_range(there: set[int]) -> None:
    found = Ranges.of_offsets(np.array(sorted(there), np.int64))
    assert offsets(found) == there
    assert found == Ranges.of(Range(offset, offset + 1) for offset in there)


def counted(there: set[int], rows: int) -> pd.DataFrame:
    """As Spark adds them up, in no order, in so many rows."""
    bits: dict[int, int] = {}
    for offset in there:
        bits[offset // WORD] = bits.get(offset // WORD, 0) | 1 << offset % WORD
    parts = [[word for word in bits if word % rows == row] for row in range(rows)]
    columns = {
        "word": [np.array(part, np.int64) for part in parts],
        "bits": [np.array([bits[word] for word in part], np.uint64).view(np.int64) for part in parts],
    }
    return pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()})


@given(st.sets(st.integers(0, 5 * WORD) | st.integers(2**40, 2**40 + WORD)), st.integers(1, 3))
def test_words_are_read_as_they_were_written(there: set[int], rows: int) -> None:
    found = offsets_of(counted(there, rows))
    assert offsets(found) == there
    assert list(found) == list(Ranges.of(Range(offset, offset + 1) for offset in there))


def test_ranges_of_words_that_touch_are_one_wherever_they_are_unpacked() -> None:
    words = 2 * WORDS_AT_A_TIME + 5
    full = pd.DataFrame({"word": [np.arange(words)], "bits": [np.full(words, -1)]})
    assert list(offsets_of(full)) == [Range(0, words * WORD)]
    assert offsets_of(full.iloc[:0]) == NO_RANGES
