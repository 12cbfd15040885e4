"""Hashes as Spark makes them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import xxhash

SEED = 42


def xxhash64(texts: pa.Array) -> pa.Array:
    """Spark's ``xxhash64`` of each text; null of null."""
    hashes = (xxhash.xxh64_intdigest(one or b"", SEED) for one in texts.cast(pa.binary()).to_pylist())
    absent = texts.is_null().to_numpy(zero_copy_only=False)
    return pa.array(np.fromiter(hashes, np.uint64, len(texts)).view(np.int64), mask=absent)
