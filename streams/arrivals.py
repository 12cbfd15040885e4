"""What a micro-batch must know of all its records at once: which event ids are repeated, and whose events they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame

from features.duplicates import is_repeated
from features.packed import tables_in
from streams.recent_keys import RecentKeys


@dataclass(frozen=True)
class Arrivals:
    """The records of a micro-batch, without their content.

    Attributes:
        reasons: of each record why it is no event, null where it is one.
        passing: those that are events (:data:`features.packed.ARRIVALS`).
        repeated: which of the ``passing`` ones have an event id that came before.
        people: whose events they are, where the packs say so (:func:`features.folding.people_in`).
        links: the links that they tell (:data:`features.identities.LINKS`); None: none.
        now: the batch's time in microseconds since 1970.
    """

    reasons: pa.ChunkedArray
    passing: pa.Table
    repeated: NDArray[np.bool_]
    people: pa.Table | None
    links: pa.Table | None
    now: int

    @property
    def count(self) -> int:
        return len(self.reasons)

    @property
    def duplicates(self) -> pa.Table:
        return self.passing.filter(pa.array(self.repeated))

    @property
    def accepted_keys(self) -> NDArray[np.int64]:
        """The event ids' hashes of those that are kept as events."""
        keys: NDArray[np.int64] = self.passing.filter(pa.array(~self.repeated))["event_key"].drop_null().to_numpy()
        return keys


def arrivals_in(packs: DataFrame, recent: RecentKeys, batch_id: str) -> Arrivals | None:
    """What came in ``packs`` (:data:`features.packed.PACKS`); None where nothing did."""
    beside = packs.select("arrivals", "people", "links").toArrow()
    tables = list(tables_in(beside["arrivals"]))
    if not tables:
        return None
    rows = pa.concat_tables(tables)
    now = rows["ingested_at"].cast(pa.int64())[0].as_py()
    passing = rows.filter(pc.is_null(rows["reason"]))
    repeated = is_repeated(passing, recent.before(batch_id, now), now)
    people, links = (_joined(beside[name]) for name in ("people", "links"))
    return Arrivals(rows["reason"], passing, repeated, people, links, now)


def _joined(packed: pa.ChunkedArray) -> pa.Table | None:
    tables = list(tables_in(packed.drop_null()))
    return pa.concat_tables(tables) if tables else None
