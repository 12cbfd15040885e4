"""Remove people from every table, from the files under the tables, from reports, and from Kafka as far as it can."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
from pyspark.sql import SparkSession

from features.errors import EnvironmentProblem
from features.ledger import Partition
from features.tables import ERASURES, IDENTITIES, Table
from kafka.guard import KafkaGuard
from lake import hadoop_files
from lake.link_rows import read_links
from lake.maintenance import UNDER_WAY
from lake.rewrites import alone
from lake.schemas import arrow_schema
from lake.spark_tables import Lake
from privacy.erased_people import secret_key
from privacy.kafka_records import KafkaErasure
from privacy.linked_ids import LinkedIds
from privacy.mentions import People
from privacy.pseudonyms import keyed_hash_of
from privacy.reports import remove_reports_naming
from privacy.stray_files import naming, strays
from privacy.stream_waits import StreamWaits
from privacy.table_rows import delete_removed_files, remove_rows
from settings import Settings
from spark import scratch
from streams.flow import FLOW, INGEST, Stream, noted, personal, writer_of


@dataclass
class Erasure:
    """One run. Ids are matched as they came and as pseudonyms.

    Attributes:
        finish: lets a query that nobody runs do what there is to do.
        is_with_linked: whether ids that only these people were linked to are erased, too.
    """

    spark: SparkSession
    lake: Lake
    settings: Settings
    users: list[str]
    finish: Callable[[Stream], None]
    is_with_linked: bool = False
    linked: LinkedIds = field(init=False)
    people: People = field(init=False)
    strays: int = field(default=0, init=False)
    read_until: dict[Partition, int] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.waits = StreamWaits(self.lake, self.settings, self.finish)

    def run(self) -> dict[str, int]:
        """Erase; returns rows removed per table.

        The hashes come first, so that ingest takes nothing more of the person. Then each table is emptied of the
        person only when the stream that fills it has passed what it might still carry over, and files are deleted only
        when no stream needs them any more. A stream that nobody runs is run here until it has passed.

        Raises:
            ConfigurationError: there is no key.
            BehaviorError: a stream has not passed in time; nothing is lost, the same command goes on from there.
        """
        key = secret_key(self.settings, "erasures are remembered as hashes under it")
        with alone(self.spark, self.settings, "erase_user"):
            hashes = self._whom(key)
            self._note(hashes, "requested", None)
            self.waits.batch_ends(INGEST)
            self.read_until = KafkaGuard(self.spark, self.lake, self.settings, INGEST.query).read_until()
            removed: dict[str, int] = {}
            for stream in FLOW:
                self.waits.has_read(stream)
                tables = [t for t in personal(streamed=True) if t in stream.writes and t is not IDENTITIES]
                removed |= {t.name: self._remove(t) for t in tables}
            self.waits.alerts_have_read()
            removed |= {t.name: self._remove(t) for t in personal(streamed=False)}
            for stream in FLOW:
                self.waits.batch_ends(stream)
            tables = [t for t in (*personal(streamed=True), *personal(streamed=False)) if self.lake.exists(t)]
            for table in tables:
                delete_removed_files(self.lake, table)
            self._delete_strays(tables, removed)
            # Last: by the links a call that is made again after a kill finds the linked ids.
            removed[IDENTITIES.name] = self._remove(IDENTITIES)
            if self.lake.exists(IDENTITIES):
                delete_removed_files(self.lake, IDENTITIES)
            remove_reports_naming(Path(self.settings.patterns.reports), self.people.ids)
            if (home := scratch.folder_of(self.settings)) is not None:
                scratch.sweep(home)  # of processes that were killed since this one began
            self._note(hashes, "completed", sum(removed.values()))
        return removed

    def from_kafka(self) -> list[str]:
        """After :meth:`run`: remove what Kafka may be asked to remove; what became of it, in sentences."""
        chosen, kafka = self.settings.maintenance.erase_from_kafka, KafkaErasure(self.settings.kafka)
        works: dict[str, list[Callable[[], str]]] = {
            "nothing": [],
            "alerts": [lambda: kafka.alerts(self.people)],
            "all": [lambda: kafka.alerts(self.people), lambda: kafka.records(self.read_until)],
        }
        sentences = []
        for work in works[chosen]:
            try:
                sentences.append(work())
            except EnvironmentProblem as problem:
                sentences.append(f"{problem} Nothing was removed there: call erase_user again with the same ids.")
                break
        return sentences

    def _whom(self, key: bytes) -> list[str]:
        """Find all ids of the people; their hashes under ``key``."""
        users = [*self.users, *(keyed_hash_of(user, key) for user in self.users)]
        self.linked = LinkedIds.of(frozenset(users), read_links(self.lake))
        erased = [*self.users, *(self.linked.same if self.is_with_linked else ())]
        hashes = [keyed_hash_of(one, key) for one in erased]
        hashes += self.linked.pseudonyms if self.is_with_linked else []
        self.people = People([*erased, *hashes])
        return hashes

    def _note(self, hashes: list[str], state: str, rows: int | None) -> None:
        now = datetime.now(UTC)
        columns = {"user_hash": hashes, "state": state, "at": now, "rows_removed": rows}
        values = [value if isinstance(value, list) else [value] * len(hashes) for value in columns.values()]
        frame = self.spark.createDataFrame(pa.table(values, schema=arrow_schema(ERASURES)))
        self.lake.append(frame.coalesce(1), ERASURES, batch_id=f"erasure:{state}:{now.isoformat()}")

    def _remove(self, table: Table) -> int:
        return remove_rows(self.lake, table, self.people, self.settings.maintenance)

    def _delete_strays(self, tables: list[Table], removed: dict[str, int]) -> None:
        """Delete files with the people in them that are in no log: killed processes left them, and refused commits.

        What a stream is just writing is no such file: each running batch is waited for between two looks, and a file
        that is in no log at either look is nobody's any more. Who is no stream, and the one pass where it takes what is
        owed between two batches, commits, or fails, within a minute; what is committed meanwhile has rows, which are
        removed as such.
        """
        if not self.lake.takes_files:
            return
        seen = {table: strays(self.lake, table) for table in tables}
        since = time.monotonic()
        for stream in FLOW:
            self.waits.batch_ends(stream)
        for table in tables:
            left = naming(self.lake, table, seen[table] & strays(self.lake, table), self.people)
            if left and (writer_of(table) is None or noted(self.settings) is not None):
                time.sleep(max(0.0, since + UNDER_WAY.total_seconds() - time.monotonic()))
                left = sorted(strays(self.lake, table).intersection(left))
                if again := self._remove(table):
                    removed[table.name] += again
                    delete_removed_files(self.lake, table)
            for name in left:
                hadoop_files.remove(self.spark, f"{self.lake.path(table)}/{name}")
            self.strays += len(left)
