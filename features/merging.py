"""Partial tiles of whole users in Arrow: put in order, and those of one user, minute and page added up.

:func:`features.tiles.merge` does the same with rows of Spark.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from features.compiled import compiled
from features.counts import COUNT_NAMES
from features.hashing import xxhash64
from features.kernel import KINDS, Flags, Longs

MINUTE_MICROS = 60_000_000
INSTANT = pa.timestamp("us", tz="UTC")
MASK, MARK, RECEIVED = KINDS, KINDS + 1, KINDS + 2
"""Places in what is added up, after the counts."""
NUMBERS = 63
"""Bits of a whole number that is not negative."""
LEAN = pa.schema(
    [
        ("user_hash", pa.int64()),
        ("user_id", pa.string()),
        ("minute", pa.int64()),
        ("page", pa.string()),
        *[(name, pa.int64()) for name in (*COUNT_NAMES, "second_mask", "session_mark", "received")],
        ("fresh", pa.bool_()),
    ]
)
"""Partial tiles on their way to the worker of their user: numbers in place of times, -1 in place of null."""


@dataclass(frozen=True)
class Tiles:
    """Merged tiles in the order of user and minute; tiles that are fresh are merged with fresh ones only.

    Attributes:
        numbers: (tiles) columns as :func:`features.kernel.rows_of` takes them; ``page`` is a code.
        users: (tiles) code of the user.
        starts: (users + 1) first tile of each user, and the number of tiles.
        user_names, page_names: what the codes stand for.
    """

    numbers: dict[str, npt.NDArray[Any]]
    users: Longs
    starts: Longs
    user_names: pa.Array
    page_names: pa.Array

    def names(self, at: Longs) -> pa.DictionaryArray:
        """User ids of the tiles ``at``."""
        return coded(self.users[at], self.user_names)

    def fresh(self) -> pa.Table:
        """The fresh ones, with the columns of table tiles but the batch's."""
        at = np.flatnonzero(self.numbers["fresh"])
        mark, received = self.numbers["session_mark"][at], self.numbers["received"][at]
        return pa.table(
            {
                "user_id": self.names(at),
                "window_start": instants(self.numbers["minute"][at] * MINUTE_MICROS),
                "page": coded(self.numbers["page"][at], self.page_names),
                **{name: pa.array(self.numbers[name][at]) for name in (*COUNT_NAMES, "second_mask")},
                "session_mark": pa.array(mark, mask=mark < 0),
                "last_received_at": instants(received, absent=received < 0),
            }
        )

    def lean(self) -> pa.Table:
        """All of them as :data:`LEAN`."""
        everybody = np.arange(len(self.users))
        columns = {
            **self.numbers,
            "user_hash": xxhash64(self.user_names).take(pa.array(self.users)),
            "user_id": self.names(everybody),
            "page": coded(self.numbers["page"], self.page_names),
        }
        return pa.table({name: pa.array(columns[name]) for name in LEAN.names}).cast(LEAN)


def merged(tiles: pa.Table) -> Tiles:
    """Merge partial ``tiles`` of whole users (columns :data:`LEAN`), in any order."""
    users, pages = (tiles[name].combine_chunks().dictionary_encode() for name in ("user_id", "page"))
    user, page = (_numbers(codes.indices) for codes in (users, pages))
    minute, fresh = _numbers(tiles["minute"]), tiles["fresh"].to_numpy()
    order = ordered(user, minute, page, fresh.astype(np.int64))
    counts = np.column_stack([_numbers(tiles[name]) for name in COUNT_NAMES])
    size = tiles.num_rows
    keys, sums = np.empty((3, size), np.int64), np.empty((RECEIVED + 1, size), np.int64)
    is_fresh = np.empty(size, np.bool_)
    count = add_up(
        order, user, minute, page, fresh, counts, _numbers(tiles["second_mask"]), _numbers(tiles["session_mark"]),
        _numbers(tiles["received"]), keys, sums, is_fresh,
    )  # fmt: skip
    keys, sums = keys[:, :count], sums[:, :count]
    names = (*COUNT_NAMES, "second_mask", "session_mark", "received")
    numbers = {"minute": keys[1], "page": keys[2], "fresh": is_fresh[:count], **dict(zip(names, sums, strict=True))}
    starts = np.concatenate(([0], np.flatnonzero(np.diff(keys[0])) + 1, [count])).astype(np.int64)
    return Tiles(numbers, keys[0], starts, users.dictionary, pages.dictionary)


def ordered(*keys: Longs) -> Longs:
    """The order that sorts by ``keys``, the first one first; by one number made of all where that has bits enough."""
    least = [int(key.min()) for key in keys]
    bits = [int(key.max() - low).bit_length() for key, low in zip(keys, least, strict=True)]
    if sum(bits) > NUMBERS:
        return np.lexsort(keys[::-1]).astype(np.int64)
    packed = np.zeros(len(keys[0]), np.int64)
    for key, low, width in zip(keys, least, bits, strict=True):
        packed = (packed << width) | (key - low)
    return np.argsort(packed).astype(np.int64)


@compiled
def add_up(
    order: Longs,
    user: Longs,
    minute: Longs,
    page: Longs,
    fresh: Flags,
    counts: Longs,
    mask: Longs,
    mark: Longs,
    received: Longs,
    keys: Longs,
    sums: Longs,
    is_fresh: Flags,
) -> int:
    """Add up neighbours in ``order`` with equal keys; return how many tiles are left.

    Args:
        counts: (tiles, kinds).
        keys: (3, tiles) out: user, minute, page.
        sums: (kinds + 3, tiles) out: the counts, the mask, the mark, the newest arrival.
        is_fresh: (tiles) out.
    """
    last = -1
    for at in order:
        if (
            last < 0
            or keys[0, last] != user[at]
            or keys[1, last] != minute[at]
            or keys[2, last] != page[at]
            or is_fresh[last] != fresh[at]
        ):
            last += 1
            keys[0, last], keys[1, last], keys[2, last], is_fresh[last] = user[at], minute[at], page[at], fresh[at]
            for kind in range(KINDS):
                sums[kind, last] = counts[at, kind]
            sums[MASK, last], sums[MARK, last], sums[RECEIVED, last] = mask[at], mark[at], received[at]
        else:
            for kind in range(KINDS):
                sums[kind, last] += counts[at, kind]
            sums[MASK, last] |= mask[at]
            sums[MARK, last] = max(sums[MARK, last], mark[at])
            sums[RECEIVED, last] = max(sums[RECEIVED, last], received[at])
    return last + 1


def coded(codes: Longs, names: pa.Array) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), names)


def constant(value: str, count: int) -> pa.DictionaryArray:
    """``value`` in ``count`` rows."""
    return coded(np.zeros(count, np.int64), pa.array([value]))


def instants(micros: Longs, absent: Flags | None = None) -> pa.Array:
    """Microseconds since 1970 as times; null where ``absent``."""
    return pa.array(micros, mask=absent).cast(INSTANT)


def _numbers(column: pa.Array | pa.ChunkedArray) -> Longs:
    numbers: Longs = column.to_numpy().astype(np.int64, copy=False)
    return numbers
