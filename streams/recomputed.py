"""Feature rows that batch jobs recompute beside the streams: which of them are still the newest of their minute.

``check_parity --repair`` and ``backfill_features`` append revisions of the state that they have read, which are older
than what build_features writes meanwhile. Whoever takes them up in the order in which they come would take them for
newer.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.revisions import latest
from features.tables import Table
from lake.log import NO_VERSION
from lake.spark_tables import Lake
from streams.checkpoints import PlannedBatch
from streams.queries import Batch


@dataclass
class RecomputedRows:
    """Tells them by the log of ``table``, one small file a commit: without any, a micro-batch costs no more than that.

    Attributes:
        version: the newest version of the table that was looked at; at first one that the stream has passed.
    """

    lake: Lake
    table: Table
    version: int = NO_VERSION
    _batches: dict[int, str] = field(default_factory=dict)

    def without_replaced(self, rows: DataFrame) -> DataFrame:
        """``rows`` of the table without those of batch jobs that had a newer revision when they were written."""
        for commit in self.lake.commits(self.table, self.version + 1):
            self.version = commit.version
            if commit.appends and commit.note is not None and not commit.note.ends:  # a query says where it ends
                self._batches[commit.version] = commit.note.batch_id
        if not self._batches:
            return rows
        keys, revision = list(self.table.keys), [*self.table.keys, "batch_time", "batch_id"]
        recomputed = rows.where(F.col("batch_id").isin(list(set(self._batches.values())))).select(revision)
        first, last = recomputed.agg(F.min(self.table.time), F.max(self.table.time)).collect()[0]
        if first is None:
            return rows
        there = self.lake.read(self.table).where(F.col(self.table.time).between(first, last)).select(revision)
        newest = latest(there.join(recomputed.select(keys).distinct(), keys, "left_semi"), self.table)
        replaced = recomputed.join(newest, revision, "left_anti")
        return rows.join(replaced, revision, "left_anti")

    def passed(self, batch: Batch) -> None:
        """Forget what the stream has read with ``batch``, which is finished."""
        until = PlannedBatch(batch.time, (batch.ends,)).whole_version
        if until is not None:
            self._batches = {version: other for version, other in self._batches.items() if version >= until}
