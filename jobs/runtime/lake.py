"""Delta tables by name: create, read, append exactly once. The only code that knows where a table lives."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from features.errors import SchemaError
from features.tables import TABLES, Table
from jobs.runtime import arrow_lake, commit_notes, commits, files, object_store, table_files, table_reads

LOOKED_UP = {
    # A batch opens every file of the last hours: without this, one more per batch until maintenance comes.
    "delta.autoOptimize.autoCompact": "true",
    # Delta lists the whole log at every look. Nobody streams from such a table, so old commits serve nobody.
    "delta.logRetentionDuration": "interval 1 day",
    "delta.deletedFileRetentionDuration": "interval 1 day",  # Delta wants it no longer than the log's
}


@dataclass(frozen=True)
class Lake:
    """The tables under one root (a folder or an object-store address)."""

    spark: SparkSession
    root: str
    _opened: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def path(self, table: Table) -> str:
        return f"{self.root.rstrip('/')}/{table.name}"

    def address(self, table: Table) -> str:
        """The path from the root, for statements: in one, Delta takes a relative path for a table's name."""
        return files.absolute(self.spark, self.path(table))

    def create(self, *tables: Table) -> None:
        """Create the tables that are not there yet (when none is named, all but those made on demand)."""
        chosen = tables or [table for table in TABLES.values() if not table.on_demand]
        with ThreadPoolExecutor(max_workers=4) as pool:
            list(pool.map(self._create, chosen))

    def _create(self, table: Table) -> None:
        if self.exists(table):
            return
        builder = (
            DeltaTable.createIfNotExists(self.spark)
            .location(self.address(table))
            .comment(table.about)
            .addColumns(table.schema)
            # Only keys and times are pruned by; statistics of thirty numbers per file would cost more than a write.
            .property("delta.dataSkippingStatsColumns", ",".join(table.statistics))
            .property("delta.checkpointInterval", "20")
        )
        for name, value in LOOKED_UP.items() if table.looked_up else ():
            builder = builder.property(name, value)
        builder.execute()

    def exists(self, table: Table) -> bool:
        return bool(DeltaTable.isDeltaTable(self.spark, self.path(table)))

    def version(self, table: Table) -> int:
        """Newest Delta version of ``table``."""
        history = DeltaTable.forPath(self.spark, self.path(table)).history(1).select("version")
        return int(history.collect()[0][0])

    def has_version(self, table: Table, version: int) -> bool:
        """Whether ``table`` has been committed to so often; cheap, and true only while the log keeps that commit."""
        return files.exists(self.spark, f"{self.path(table)}/_delta_log/{version:020d}.json")

    def is_new(self, table: Table) -> bool:
        """Whether ``table`` has but the commit that made it, without rows: known from the log, without a query."""
        if self.has_version(table, 1):
            return False
        made = files.text_of(self.spark, f"{self.path(table)}/_delta_log/{0:020d}.json")
        return made is not None and '"add":' not in made

    def read(self, table: Table, version: int | None = None) -> DataFrame:
        """All rows of ``table`` (of its Delta ``version`` where given)."""
        reader = self.spark.read.format("delta")
        if version is not None:
            reader = reader.option("versionAsOf", version)
        return reader.load(self.path(table))

    def read_people(self, table: Table, columns: Sequence[str], wanted: table_reads.Wanted) -> DataFrame | None:
        """Rows of few people, read by Python workers; None where they cannot read the table's files."""
        if not self.takes_files:
            return None
        place = self.place(table)
        opened = self._opened.get(table.name)
        self._opened[table.name] = opened = table_reads.newest(place, opened)
        if not table_reads.is_plain(opened):
            return None
        near = table_reads.files_of(opened, table.time, wanted)
        return table_reads.rows_of(self.spark, place, near, table, columns, wanted)

    def read_stream(self, table: Table, max_files: int) -> DataFrame:
        """New rows of ``table`` as a stream; rewrites by maintenance and erasure are passed over."""
        return (
            self.spark.readStream.format("delta")
            .option("maxFilesPerTrigger", max_files)
            .option("skipChangeCommits", "true")
            .load(self.path(table))
        )

    def append(
        self, rows: DataFrame, table: Table, *, batch_id: str, ends: str = "", fence: tuple[str, int] | None = None
    ) -> None:
        """Append ``rows`` in one commit, which keeps ``batch_id`` and ``ends`` as its ``userMetadata``.

        Args:
            ends: where the batch ends in its source, see :mod:`jobs.runtime.commit_notes`.
            fence: a name and a number that grows. A later append with the same pair does nothing, and Delta refuses one
                of two at the same moment. It costs Delta a look at all of the table's state for each append.

        Raises:
            SchemaError: the columns are not the table's.
        """
        if rows.columns != table.columns:
            raise SchemaError(f"Rows for {table.name}: found columns {rows.columns}, needed {table.columns}.")
        writer = rows.write.format("delta").mode("append").option("userMetadata", commit_notes.note(batch_id, ends))
        if fence is not None:
            writer = writer.option("txnAppId", fence[0]).option("txnVersion", fence[1])
        writer.save(self.path(table))

    @property
    def shuffle_partitions(self) -> int:
        """Parts that Spark makes of rows by itself."""
        return int(self.spark.conf.get("spark.sql.shuffle.partitions") or 1)

    @property
    def takes_files(self) -> bool:
        """Whether Python workers can write files of the tables, and this Spark's Delta commit them.

        Workers reach folders and S3. Databricks has a Delta of its own, without the open one's classes.
        """
        root = arrow_lake.address_of(files.absolute(self.spark, self.root))
        return ("://" not in root or root.startswith("s3://")) and commits.is_open_delta(self.spark)

    def written_by_workers(
        self, rows: DataFrame, tables: Sequence[Table], write: table_files.Write
    ) -> dict[Table, list[str]]:
        """Let Python workers write files of ``tables`` from ``rows``; per table what :meth:`commit` takes.

        Args:
            write: called once in each task, with its batches and an open :class:`~jobs.runtime.table_files.TableFiles`
                for each table.
        """
        places = [(table, self.place(table)) for table in tables]
        told = rows.mapInArrow(table_files.writer(places, write), table_files.TOLD).toArrow().to_pylist()
        return {table: [one["file"] for one in told if one["table"] == table.name] for table in tables}

    def place(self, table: Table) -> table_files.Place:
        """Where Python workers write the table's files."""
        return table_files.Place(arrow_lake.address_of(self.address(table)), object_store.reach())

    def commit(
        self,
        written: Sequence[str],
        table: Table,
        *,
        batch_id: str,
        ends: str = "",
        fence: tuple[str, int] | None = None,
    ) -> bool:
        """:meth:`append` for rows that workers have ``written`` already, see :mod:`jobs.runtime.table_files`.

        Returns:
            False where the fence says that it, or something later, is there already.
        """
        note = commit_notes.note(batch_id, ends)
        return commits.commit(self.spark, self.path(table), written, note=note, fence=fence, compact=table.looked_up)

    def ends_of(self, table: Table, batch_id: str) -> str | None:
        """Where a batch ends by the newest commit it made to ``table``.

        Returns:
            None where the log has no commit of it (any more), an empty text where the commit does not say.
        """
        log = f"{self.path(table)}/_delta_log"
        names = [file.name for file in files.listing(self.spark, log) if file.name.removesuffix(".json").isdigit()]
        for name in sorted(names, reverse=True):
            told = commit_notes.of_commit(files.text_of(self.spark, f"{log}/{name}") or "")
            if told is not None and told.batch_id == batch_id:
                return told.ends
        return None

    def newest(self, *tables: Table) -> datetime | None:
        """A time that no ``batch_time`` in ``tables`` is later than, and hardly more; None where they are empty."""
        found = [self._newest(table) for table in tables]
        return max((time for time in found if time is not None), default=None)

    def _newest(self, table: Table) -> datetime | None:
        if self.is_new(table):
            return None
        if self.takes_files:
            times = table_reads.greatest(table_reads.newest(self.place(table), None), "batch_time")
            if times is not None:
                return times + timedelta(milliseconds=1)  # statistics are in whole milliseconds
        newest = self.read(table).agg(F.max("batch_time")).collect()[0][0]
        return None if newest is None else newest.astimezone(UTC)

    def holds(self, table: Table, batch_id: str, since: datetime) -> bool:
        """Whether ``table`` has rows of a batch that was planned at ``since``."""
        if self.is_new(table):
            return False
        time, writer = ("ingested_at", "ingest_id") if "ingest_id" in table.columns else ("batch_time", "batch_id")
        return not self.read(table).where((F.col(time) >= since) & (F.col(writer) == batch_id)).isEmpty()
