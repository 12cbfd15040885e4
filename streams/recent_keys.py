"""Keys of recently accepted events, as the table has them, kept in memory from batch to batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

import pyarrow.compute as pc
from pyspark.sql import functions as F

from features.duplicates import Keys, SeenKeys
from features.tables import EVENTS
from lake.spark_tables import Lake

UNKNOWN = -1


@dataclass
class RecentKeys:
    """What table events says about keys accepted within the window, read from it once.

    Afterwards only what this query writes is added. A commit of anybody else (a replay of rejected records, an erasure,
    maintenance) is noticed by the table's version, and the keys are read anew.
    """

    lake: Lake
    window_seconds: int
    _seen: SeenKeys = field(init=False)
    _version: int = field(default=UNKNOWN, init=False)
    _at: int = field(default=0, init=False)
    """The time of the last batch."""

    def before(self, batch_id: str, now: int) -> SeenKeys:
        """Keys accepted within the window before ``now`` (microseconds since 1970), the batch's own left out."""
        # After a step back of the clock what was forgotten as too old may be within the window again.
        if self._version == UNKNOWN or now < self._at or self.lake.has_version(EVENTS, self._version + 1):
            self._read(batch_id, now)
        self._at = now
        return self._seen

    def accepted(self, keys: Keys, now: int) -> None:
        """Note what a batch has appended."""
        self._seen.add(keys, now)
        if self.lake.has_version(EVENTS, self._version + 1):
            self._version += 1

    def _read(self, batch_id: str, now: int) -> None:
        self._seen = SeenKeys(self.window_seconds)
        if self.lake.is_new(EVENTS):
            self._version = 0
            return
        self._version = self.lake.version(EVENTS)
        since = datetime.fromtimestamp(self._seen.oldest(now) / 1e6, UTC)
        recent = self.lake.read(EVENTS, self._version).where(
            (F.col("ingested_at") >= since) & (F.col("ingest_id") != batch_id) & F.col("event_key").isNotNull()
        )
        rows = recent.select(F.unix_micros("ingested_at").alias("at"), "event_key").toArrow()
        for at in pc.unique(rows["at"]).to_pylist():
            self._seen.add(rows.filter(pc.equal(rows["at"], at))["event_key"].to_numpy(), at)
