"""Kafka is asked for little more than the offsets that are missing, and not once for each."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from features.ledger import Range, Ranges
from kafka.offsets import LONGEST, NEAR, spans_of

missing = st.lists(st.tuples(st.integers(0, 20 * NEAR), st.integers(1, 2 * LONGEST))).map(
    lambda ranges: Ranges.of(Range(first, first + length) for first, length in ranges)
)


@given(missing)
def test_all_that_is_missing_is_asked_for_once_in_order_and_never_too_much_at_a_time(ranges: Ranges) -> None:
    asked = list(spans_of(ranges))
    assert ranges.without(Ranges.of(asked)) == Ranges.of(())
    assert all(before.until <= after.first for before, after in pairwise(asked))
    assert all(0 < len(one) <= LONGEST for one in asked)


@given(missing)
def test_what_is_read_on_the_way_lies_between_two_that_are_near(ranges: Ranges) -> None:
    more = Ranges.of(spans_of(ranges)).without(ranges)
    assert all(len(one) <= NEAR for one in more)


def test_a_million_gaps_near_to_each_other_are_a_few_questions() -> None:
    gaps = Ranges.of_offsets(np.arange(0, 10_000_000, 10))
    assert len(gaps) == 1_000_000
    assert len(list(spans_of(gaps))) == 10_000_000 // LONGEST


def test_gaps_far_apart_are_asked_for_alone() -> None:
    far = [Range(first, first + 1) for first in range(0, 10_000_000, NEAR + 2)]
    assert list(spans_of(Ranges.of(far))) == far
