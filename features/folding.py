"""Events to partial tiles in Arrow, for workers that have the events at hand anyway.

:func:`features.tiles.fold` does the same with rows of Spark.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.counts import COUNTS
from features.hashing import xxhash64
from features.kernel import NONE, SESSION_BITS, Longs
from features.merging import LEAN, MINUTE_MICROS, merged
from features.tiles import SESSION_HASH_BITS

SECOND_MICROS, MINUTE_SECONDS = 1_000_000, 60


def folded(events: pa.Table) -> pa.Table:
    """Fold ``events`` into one partial tile per user, minute and page.

    Args:
        events: the columns :data:`features.tiles.FOLDED` of table events.

    Returns:
        Columns :data:`features.merging.LEAN`, all of them fresh.
    """
    return merged(_tiles_of_one(events)).lean() if events.num_rows else LEAN.empty_table()


def people_in(events: pa.Table, look_back_micros: int) -> pa.Table:
    """Whose events these are, and when they were done, as :func:`streams.look_back.look_back` takes it.

    Args:
        events: ``user_id`` and ``timestamp``; rows without a user are left out.

    Returns:
        One row per user and stretch of time as long as the look-back: ``user_id``, and ``first`` and ``last`` in
        microseconds.
    """
    events = events.filter(events["user_id"].is_valid())
    users = events["user_id"].combine_chunks().dictionary_encode()
    at = _micros(events["timestamp"])
    rows = pa.table({"user": users.indices, "part": at // look_back_micros, "at": at})
    spans = rows.group_by(["user", "part"]).aggregate([("at", "min"), ("at", "max")])
    names = users.dictionary.take(spans["user"])
    return pa.table({"user_id": names, "first": spans["at_min"], "last": spans["at_max"]})


def _tiles_of_one(events: pa.Table) -> pa.Table:
    """Each event as a partial tile, without the user's hash."""
    at = _micros(events["timestamp"])
    second = at // SECOND_MICROS % MINUTE_SECONDS
    action = events["action"]
    counts = {
        count.name: pa.repeat(1, events.num_rows) if count.action is None else pc.equal(action, count.action)
        for count in COUNTS
    }
    columns = {
        "user_id": events["user_id"],
        "minute": at // MINUTE_MICROS,
        "page": events["page"],
        **{name: column.cast(pa.int64()) for name, column in counts.items()},
        "second_mask": np.int64(1) << second,
        "session_mark": _session_marks(second, events["session_id"]),
        "received": pc.fill_null(events["received_at"].cast(pa.int64()), NONE),
        "fresh": pa.repeat(True, events.num_rows),
    }
    return pa.table({name: columns[name] for name in LEAN.names[1:]})


def _session_marks(second: Longs, session_ids: pa.ChunkedArray) -> pa.Array:
    """See :func:`features.tiles._session_mark`."""
    ids = session_ids.combine_chunks().dictionary_encode()
    hashes = xxhash64(ids.dictionary).take(ids.indices)
    marks = (second << SESSION_HASH_BITS) | (pc.fill_null(hashes, 0).to_numpy() & SESSION_BITS)
    return pc.if_else(hashes.is_valid(), pa.array(marks), NONE)


def _micros(times: pa.ChunkedArray) -> Longs:
    micros: Longs = times.cast(pa.int64()).to_numpy()
    return micros
