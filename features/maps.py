"""Lists and maps of Arrow, flat: null where a row has none."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Ints = npt.NDArray[np.int64]


def offsets_of(counts: Ints) -> pa.Array:
    """Offsets of rows with so many entries each; null, and so is the row, where there is none."""
    return pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32(), mask=np.append(counts == 0, False))


def rows_of(lists: pa.Array) -> tuple[Ints, slice]:
    """Of a list or map array: the row of each entry, and where the entries lie in its flat values."""
    starts = np.asarray(lists.offsets, np.int64)
    used = slice(int(starts[0]), int(starts[-1])) if len(lists) else slice(0, 0)
    return np.repeat(np.arange(len(lists)), np.diff(starts)), used


def map_of(row: Ints, keys: pa.Array, items: pa.Array, rows: int) -> pa.MapArray:
    """Maps of so many rows from entries in the order of their rows."""
    return pa.MapArray.from_arrays(offsets_of(np.bincount(row, minlength=rows)), keys, items)
