"""Delta tables by name as Spark has them: create, read, append exactly once, join and delete files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import takewhile

from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from features.errors import SchemaError
from features.tables import TABLES, Table
from lake import arrow_tables, commit_notes, hadoop_files, log, object_store, person_rows, transactions, worker_files
from lake.hadoop_files import HadoopFolder
from lake.location import TableLocation, address_of, is_local, path_of
from lake.log import Commit, CommitFollower
from lake.schemas import properties
from lake.snapshot import STATISTICS_GRAIN, OpenTable, environment_problem

JOINED_BYTES = "spark.databricks.delta.autoCompact.maxFileSize"


@dataclass(frozen=True)
class TableSize:
    """Files of a table's newest version, their bytes, and the bytes of all that lies in its folder."""

    files: int
    bytes: int
    on_disk: int


@dataclass(frozen=True)
class Lake:
    """The tables under one root (a folder or an object-store address)."""

    spark: SparkSession
    root: str
    _opened: dict[str, OpenTable] = field(default_factory=dict, init=False, repr=False, compare=False)

    def path(self, table: Table) -> str:
        return path_of(self.root, table)

    def folder(self, table: Table) -> HadoopFolder:
        """The folder of ``table``, for small files."""
        return HadoopFolder(self.spark, self.path(table))

    def address(self, table: Table) -> str:
        """The path from the root, for statements: in one, Delta takes a relative path for a table's name."""
        return hadoop_files.absolute(self.spark, self.path(table))

    def create(self, *tables: Table) -> None:
        """Create the tables that are not there yet (when none is named, all but those made on demand).

        Tables that an older version made get the columns that they lack, with null in the rows that are there.
        """
        chosen = tables or [table for table in TABLES.values() if not table.on_demand]
        with ThreadPoolExecutor(max_workers=4) as pool:
            list(pool.map(self._create, chosen))

    def _create(self, table: Table) -> None:
        if self.takes_files:  # Spark takes a second for each
            arrow_tables.make(self._open(table), table)
            return
        if self.exists(table):
            self._add_columns(table)
            return
        builder = DeltaTable.createIfNotExists(self.spark).location(self.address(table)).comment(table.about)
        for name, value in properties(table).items():
            builder = builder.property(name, value)
        builder.addColumns(table.schema).execute()

    def _add_columns(self, table: Table) -> None:
        """By Java, which tries again by itself where another commit came first."""
        there = set(self.read(table).columns)
        lacking = [field for field in table.schema if field.name not in there]
        if lacking:
            named = ", ".join(f"`{field.name}` {field.dataType.simpleString()}" for field in lacking)
            self.spark.sql(f"ALTER TABLE delta.`{self.address(table)}` ADD COLUMNS ({named})")

    def exists(self, table: Table) -> bool:
        return bool(DeltaTable.isDeltaTable(self.spark, self.path(table)))

    def version(self, table: Table) -> int:
        """Newest Delta version of ``table``."""
        if self.takes_files:  # Spark's history takes seconds at first
            opened = self._open(table)
            with environment_problem(f"Table {table.name} cannot be read"):
                if opened.refresh():
                    return opened.version
        history = DeltaTable.forPath(self.spark, self.path(table)).history(1).select("version")
        return int(history.collect()[0][0])

    def has_version(self, table: Table, version: int) -> bool:
        """Whether ``table`` has been committed to so often; cheap, and true only while the log keeps that commit."""
        return hadoop_files.exists(self.spark, f"{self.path(table)}/{log.file_of(version)}")

    def is_new(self, table: Table) -> bool:
        """Whether ``table`` has but the commit that made it, without rows: known from the log, without a query."""
        if self.has_version(table, 1):
            return False
        made = log.commit_of(self.folder(table), 0)
        return made is not None and not made.names_files

    def versions(self, table: Table) -> list[int]:
        """The Delta versions whose commits the log of ``table`` still has, in order; none where there is no table."""
        return log.versions(self.folder(table))

    def commits(self, table: Table, since: int) -> Iterator[Commit]:
        """Those commits of ``table`` from version ``since`` on that its log still has, oldest first.

        Where there are none yet, that is known from the one before: the log, which may be long, is not listed.
        """
        if not (self.has_version(table, since) or self.has_version(table, since - 1)):
            since = min((version for version in self.versions(table) if version >= since), default=since)
        return CommitFollower(self.folder(table), since - 1).poll()

    def read(self, table: Table, version: int | None = None) -> DataFrame:
        """All rows of ``table`` (of its Delta ``version`` where given)."""
        reader = self.spark.read.format("delta")
        if version is not None:
            reader = reader.option("versionAsOf", version)
        return reader.load(self.path(table))

    def read_people(self, table: Table, columns: Sequence[str], selection: person_rows.Selection) -> DataFrame | None:
        """Rows of few people, read by Python workers; None where they cannot read the table's files."""
        if not self.takes_files:
            return None
        location, opened = self.location(table), self._open(table)
        if not opened.refresh() or not opened.is_plain:
            return None
        near = person_rows.files_of(opened.files.values(), table.time, selection)
        return person_rows.rows_of(self.spark, location, near, table, columns, selection)

    def _open(self, table: Table) -> OpenTable:
        return self._opened.setdefault(table.name, OpenTable(self.location(table)))

    def read_stream(self, table: Table, max_files: int, since: int | None = None) -> DataFrame:
        """New rows of ``table`` as a stream; rewrites by maintenance and erasure are passed over.

        A query without a checkpoint begins with all rows that are there, or with those of version ``since``.
        """
        reader = self.spark.readStream.format("delta").option("maxFilesPerTrigger", max_files)
        if since is not None:
            reader = reader.option("startingVersion", since)
        return reader.option("skipChangeCommits", "true").load(self.path(table))

    def append(
        self, rows: DataFrame, table: Table, *, batch_id: str, ends: str = "", fence: tuple[str, int] | None = None
    ) -> bool:
        """Append ``rows`` in one commit, which keeps ``batch_id`` and ``ends`` as its ``userMetadata``.

        Args:
            ends: where the batch ends in its source, see :mod:`lake.commit_notes`.
            fence: a name and a number that grows. A later append with the same pair does nothing, and Delta refuses one
                of two at the same moment. It costs Delta a look at all of the table's state for each append.

        Returns:
            False where the fence has refused it, or may have: Databricks does not say.

        Raises:
            SchemaError: the columns are not the table's.
        """
        if rows.columns != table.columns:
            raise SchemaError(f"Rows for {table.name}: found columns {rows.columns}, needed {table.columns}.")
        note = commit_notes.note(batch_id, ends)
        if transactions.is_open_delta(self.spark):
            return transactions.append(
                self.spark, self.path(table), rows, note=note, fence=fence, compact=table.looked_up
            )
        writer = rows.write.format("delta").mode("append").option("userMetadata", note)
        if fence is not None:
            writer = writer.option("txnAppId", fence[0]).option("txnVersion", fence[1])
        writer.save(self.path(table))
        return fence is None

    @property
    def shuffle_partitions(self) -> int:
        """Parts that Spark makes of rows by itself."""
        return int(self.spark.conf.get("spark.sql.shuffle.partitions") or 1)

    @property
    def takes_files(self) -> bool:
        """Whether Python workers can write files of the tables, and this Spark's Delta commit them.

        Workers reach folders and S3. Databricks has a Delta of its own, without the open one's classes.
        """
        root = address_of(hadoop_files.absolute(self.spark, self.root))
        return (is_local(root) or root.startswith("s3://")) and transactions.is_open_delta(self.spark)

    def written_by_workers(
        self, rows: DataFrame, tables: Sequence[Table], write: worker_files.Write
    ) -> dict[Table, list[str]]:
        """Let Python workers write files of ``tables`` from ``rows``; per table what :meth:`commit` takes.

        Args:
            write: called once in each task, with its batches and an open :class:`~lake.worker_files.TableFiles`
                for each table.
        """
        locations = [(table, self.location(table)) for table in tables]
        files = rows.mapInArrow(worker_files.writer(locations, write), worker_files.FILE_COLUMNS).toArrow().to_pylist()
        return {table: [one["file"] for one in files if one["table"] == table.name] for table in tables}

    def location(self, table: Table) -> TableLocation:
        """Where Python workers read and write the table's files."""
        return TableLocation(address_of(self.address(table)), object_store.reach())

    def commit(
        self,
        written: Sequence[str],
        table: Table,
        *,
        batch_id: str,
        ends: str = "",
        fence: tuple[str, int] | None = None,
    ) -> bool:
        """:meth:`append` for rows that workers have ``written`` already, see :mod:`lake.worker_files`.

        Returns:
            False where the fence says that it, or something later, is there already.
        """
        opened = self._open(table)
        if not arrow_tables.commit(opened, written, note=commit_notes.note(batch_id, ends), fence=fence):
            return False
        if table.looked_up:
            most_bytes = int(self.spark.conf.get(JOINED_BYTES) or 33_554_432)
            arrow_tables.join_small(opened, transactions.many_files(self.spark), most_bytes)
        return True

    def ends_of(self, table: Table, batch_id: str) -> str | None:
        """Where a batch ends by the newest commit it made to ``table``.

        Returns:
            None where the log has no commit of it (any more), an empty text where the commit does not say.
        """
        own = (commit.note for commit in self._newest_commits(table) if commit.batch == batch_id)
        return next((note.ends for note in own if note is not None), None)

    def has_commit_of(self, table: Table, batch_id: str, since: datetime) -> bool:
        """Whether the batch has appended to ``table`` at ``since`` or later, as the log says."""
        later = takewhile(lambda commit: commit.at >= since.timestamp(), self._newest_commits(table))
        return any(commit.batch == batch_id for commit in later)

    def _newest_commits(self, table: Table) -> Iterator[Commit]:
        """The commits that the log of ``table`` still has, newest first."""
        folder = self.folder(table)
        for version in reversed(self.versions(table)):
            if (commit := log.commit_of(folder, version)) is not None:
                yield commit

    def newest(self, *tables: Table) -> datetime | None:
        """A time that no ``batch_time`` in ``tables`` is later than, and hardly more; None where they are empty."""
        times = [self._newest(table) for table in tables]
        return max((time for time in times if time is not None), default=None)

    def _newest(self, table: Table) -> datetime | None:
        if self.is_new(table):
            return None
        if self.takes_files:
            opened = OpenTable(self.location(table))
            greatest = person_rows.greatest(opened.files.values(), "batch_time") if opened.refresh() else None
            if greatest is not None:
                return greatest + STATISTICS_GRAIN
        newest = self.read(table).agg(F.max("batch_time")).collect()[0][0]
        return None if newest is None else newest.astimezone(UTC)

    def holds(self, table: Table, batch_id: str, since: datetime) -> bool:
        """Whether ``table`` has rows of a batch that was planned at ``since``."""
        if self.is_new(table):
            return False
        time, writer = ("ingested_at", "ingest_id") if "ingest_id" in table.columns else ("batch_time", "batch_id")
        return not self.read(table).where((F.col(time) >= since) & (F.col(writer) == batch_id)).isEmpty()

    # --- maintenance ---

    def replace_where(self, rows: DataFrame, table: Table, condition: str) -> None:
        """Put ``rows``, which all meet the ``condition``, in the place of those that do, in one commit."""
        writer = rows.write.format("delta").mode("overwrite").option("replaceWhere", condition)
        writer.save(self.path(table))

    def size(self, table: Table) -> TableSize:
        """The files of ``table``, and what lies in its folder."""
        detail = DeltaTable.forPath(self.spark, self.path(table)).detail().select("numFiles", "sizeInBytes")
        files, size = detail.collect()[0]
        return TableSize(files, size, hadoop_files.bytes_under(self.spark, self.path(table)))

    def compact(self, table: Table, target_bytes: int, by: Sequence[str] = ()) -> None:
        """Join files into such of ``target_bytes``; where columns are named, lay all rows out anew ``by`` them."""
        conf = {
            "spark.databricks.delta.optimize.maxFileSize": str(target_bytes),
            "spark.databricks.delta.optimize.minFileSize": str(target_bytes // 2),
            # Without statistics of user ids a file cannot be skipped by them, but its row groups can.
            "spark.databricks.delta.optimize.zorder.checkStatsCollection.enabled": "false",
        }
        with self._conf(conf):
            work = DeltaTable.forPath(self.spark, self.path(table)).optimize()
            work.executeZOrderBy(*by) if by else work.executeCompaction()

    def vacuum(self, table: Table, how: str) -> None:
        """Delete files that are in no version of the table any more; ``how`` as in VACUUM's syntax."""
        with self._conf({"spark.databricks.delta.retentionDurationCheck.enabled": "false"}):
            self.spark.sql(f"VACUUM delta.`{self.address(table)}` {how}").collect()

    @contextmanager
    def _conf(self, conf: dict[str, str]) -> Iterator[None]:
        for key, value in conf.items():
            self.spark.conf.set(key, value)
        try:
            yield
        finally:
            for key in conf:
                self.spark.conf.unset(key)
