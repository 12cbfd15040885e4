"""The compiled pass (:mod:`features.plain_json`) over Arrow columns."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.events import ValidationRules
from features.plain_json import (
    FAILED,
    FIELD_NAMES,
    NEVER,
    SENT_AT,
    TEXT_COUNT,
    TIMESTAMP,
    Bytes,
    Ints,
    gather,
    read_records,
)

INSTANT = pa.timestamp("us", tz="UTC")
COLON = 0x3A
SECOND = 1_000_000


def plain_readings(values: pa.Array, now: pa.Array, arrived: pa.Array, rules: ValidationRules) -> pa.StructArray:
    """Read Kafka values; null where one is in doubt.

    Args:
        values: binary.
        now: (int64) microseconds since 1970 from which the future counts, of each value.
        arrived: (int64) microseconds since 1970 when Kafka received each value, null where it does not say.
        rules: the limits.

    Returns:
        A struct of the text fields, ``properties`` (map of texts), ``timestamp`` and ``sent_at``.
    """
    count = len(values)
    values = values.cast(pa.large_binary())
    _, offsets, data = values.buffers()
    ends = np.frombuffer(offsets, np.int64)[values.offset :][: count + 1] if count else np.zeros(1, np.int64)
    own = np.frombuffer(data, np.uint8)[ends[0] : ends[-1]].copy() if data is not None else np.empty(0, np.uint8)
    ends = ends - ends[0]
    there = values.is_valid().to_numpy(zero_copy_only=False)
    spans, times = np.empty((count, len(FIELD_NAMES), 2), np.int64), np.empty((count, 2), np.int64)
    entries = np.empty((np.count_nonzero(own == COLON) + 1, 4), np.int64)
    counts = np.empty(count, np.int64)
    earliest = np.full(count, NEVER, np.int64)
    if rules.max_late_seconds is not None:
        earliest = pc.fill_null(pc.subtract(arrived, rules.max_late_seconds * SECOND), NEVER).to_numpy()
    limits = np.array(
        (rules.max_bytes, rules.max_depth, rules.oldest_micros, rules.max_future_seconds * SECOND), np.int64
    )
    read_records(own, ends, there.astype(np.int64), now.to_numpy(), earliest, limits, spans, times, entries, counts)
    readable = counts != FAILED
    spans[~readable, :, 1] = FAILED
    starts = np.concatenate([[0], np.cumsum(np.where(readable, counts, 0))])
    used = entries[: starts[-1]]
    fields = {name: texts(own, spans[:, i, 0], spans[:, i, 1]) for i, name in enumerate(FIELD_NAMES[:TEXT_COUNT])}
    fields["properties"] = pa.MapArray.from_arrays(
        pa.array(starts, pa.int32(), mask=np.append(readable & (counts == 0), False) | np.append(~readable, False)),
        texts(own, used[:, 0], used[:, 1]),
        texts(own, used[:, 2], used[:, 3]),
    )
    for i, name in ((TIMESTAMP, "timestamp"), (SENT_AT, "sent_at")):
        fields[name] = pa.array(times[:, i - TIMESTAMP], mask=spans[:, i, 1] == FAILED).cast(INSTANT)
    return pa.StructArray.from_arrays(list(fields.values()), list(fields), mask=pa.array(~readable))


def texts(data: Bytes, begins: Ints, ends: Ints) -> pa.StringArray:
    """Pieces of ``data`` as texts; null where an end is FAILED."""
    absent = ends == FAILED
    begins = np.where(absent, 0, begins)
    lengths = np.where(absent, 0, ends - begins)
    offsets, out = np.zeros(len(begins) + 1, np.int32), np.empty(int(lengths.sum()), np.uint8)
    gather(data, begins, begins + lengths, offsets, out)
    mask = pa.py_buffer(np.packbits(~absent, bitorder="little")) if absent.any() else None
    return pa.StringArray.from_buffers(len(begins), pa.py_buffer(offsets), pa.py_buffer(out), mask)
