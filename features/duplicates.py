"""Which accepted records repeat an event id that was seen before."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

POSITION = ["topic", "partition", "offset", "part"]
"""Where an event was in Kafka; ``part`` is null where it was its record's only one."""
ARRIVAL = ["received_at", *POSITION]
SLICES = 60

Keys = NDArray[np.int64]


class SeenKeys:
    """Keys of the events accepted within a window: in memory, eight bytes each, sorted within slices of time.

    The window moves on by sixtieths of itself: a key counts for ``window_seconds``, and up to a sixtieth longer.
    The comparison is by 64-bit hash: a false match has odds of 1 to 10^12 per event at 10^7 events in the window, and
    the record is kept in rejected_events all the same.
    """

    def __init__(self, window_seconds: int) -> None:
        self.width = window_seconds * 1_000_000 // SLICES
        self._slices: dict[int, Keys] = {}

    def oldest(self, now: int) -> int:
        """The earliest time of acceptance that still counts at ``now``; both in microseconds since 1970."""
        return (now // self.width - SLICES) * self.width if self.width else now + 1

    def add(self, keys: Keys, accepted_at: int) -> None:
        """Remember ``keys`` as accepted at a time in microseconds since 1970."""
        if self.width and len(keys):
            at = accepted_at // self.width
            known = np.concatenate([self._slices.get(at, np.empty(0, np.int64)), np.sort(keys)])
            self._slices[at] = np.sort(known, kind="stable")  # joins two sorted runs in one pass

    def contain(self, keys: Keys, now: int) -> NDArray[np.bool_]:
        """Whether each of ``keys`` was accepted within the window before ``now``; what is older is forgotten."""
        oldest = self.oldest(now)
        self._slices = {at: known for at, known in self._slices.items() if at * self.width >= oldest}
        contained = np.zeros(len(keys), np.bool_)
        for known in self._slices.values():
            contained |= known[np.minimum(np.searchsorted(known, keys), len(known) - 1)] == keys
        return contained


def is_repeated(records: pa.Table, seen: SeenKeys, now: int) -> NDArray[np.bool_]:
    """Which records of a batch have a key that came before, within the batch or among those ``seen``.

    Args:
        records: ``event_key`` and the columns of :data:`ARRIVAL`.
        now: the batch's time in microseconds since 1970.

    The first by arrival stays. Records without a key are never merged: two equal clicks are two clicks.
    """
    order = pc.sort_indices(records, [(name, "ascending") for name in ARRIVAL]).to_numpy()
    has_key = records["event_key"].is_valid().to_numpy()
    order = order[has_key[order]]
    keys = pc.fill_null(records["event_key"], 0).to_numpy()[order]
    first = np.unique(keys, return_index=True)[1]
    again = np.ones(len(keys), np.bool_)
    again[first] = False
    repeated = np.zeros(records.num_rows, np.bool_)
    repeated[order] = again | seen.contain(keys, now)
    return repeated


def reject_repeated(validated: pa.Table, repeated: pa.Table) -> pa.Table:
    """``validated`` with the records at the places in ``repeated`` rejected as ``duplicate_event_id``.

    Args:
        validated: columns of :data:`features.packed.VALIDATED`.
        repeated: columns of :data:`POSITION`, sorted by offset: of many only those near these records are looked at.
    """
    if not validated.num_rows:
        return validated
    bounds, offsets = pc.min_max(validated["offset"]).as_py(), repeated["offset"].to_numpy()
    first, until = np.searchsorted(offsets, bounds["min"]), np.searchsorted(offsets, bounds["max"], side="right")
    near = repeated.slice(first, until - first)
    if not near.num_rows:
        return validated
    places = _joinable(validated.select(POSITION)).append_column("at", pa.array(np.arange(validated.num_rows)))
    duplicate = np.zeros(validated.num_rows, np.bool_)
    duplicate[places.join(_joinable(near), POSITION, join_type="left semi")["at"].to_numpy()] = True
    changed = {
        "reason": pa.scalar("duplicate_event_id"),
        "field": pa.scalar("event_id"),
        "detail": pc.utf8_slice_codeunits(validated["event_id"], 0, 100),
    }
    columns = {name: pc.if_else(duplicate, value, validated[name]) for name, value in changed.items()}
    return pa.table({name: columns.get(name, validated[name]) for name in validated.column_names})


def _joinable(places: pa.Table) -> pa.Table:
    """``places`` without nulls, of which none is equal to another."""
    return places.set_column(POSITION.index("part"), "part", pc.fill_null(places["part"], 0))
