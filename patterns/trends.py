"""Is a share larger than on the days before? Said only where chance is no explanation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

FIRST_DAY, NEW, RISING, FALLING, STEADY = "first_day", "new", "rising", "falling", "steady"
SURE = 2.58
"""Standard errors: by chance, one share in a hundred seems to move."""
NOTICED = 0.1
"""A change by less than this part of the share is none to a person."""


@dataclass(frozen=True)
class Day:
    """``count`` of ``total`` on an earlier day."""

    count: int
    total: int


def trend(count: int, total: int, before: Sequence[Day], *, is_first: bool = False) -> tuple[float | None, str]:
    """Mean share over the days ``before`` on which it is known (None without any), and the trend's name.

    ``is_first`` says that there was no earlier day at all; without it, what is known of no earlier day is new.

    Two proportions, pooled (z-test); the days before count as one.
    """
    earlier = [day for day in before if day.total]
    if is_first or not total:
        return None, FIRST_DAY
    if not earlier:
        return None, NEW
    mean = sum(day.count / day.total for day in earlier) / len(earlier)
    if not any(day.count for day in earlier):
        return mean, NEW
    counted, of = sum(day.count for day in earlier), sum(day.total for day in earlier)
    share, pooled = count / total, (count + counted) / (total + of)
    error = math.sqrt(pooled * (1 - pooled) * (1 / total + 1 / of))
    change = share - counted / of
    if error == 0 or abs(change) < SURE * error or abs(change) < NOTICED * counted / of:
        return mean, STEADY
    return mean, RISING if change > 0 else FALLING
