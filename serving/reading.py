"""The platform's tables as the server reads them: without Spark, off the event loop, and never all of a table.

A table's file list is kept and brought up to date with the commits since the last look, so a look costs what is new.
Files are passed over by the least and greatest times that Delta keeps of each; within a file, parquet's own footer lets
a read of one user skip row groups. Everything is bounded: by a time range, a number of rows, and a number of files.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Any, ParamSpec, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError
from deltalake.fs import DeltaStorageHandler

from features.errors import EnvironmentProblem
from features.revisions import latest_in_arrow
from features.tables import TABLES, Table

FRESH_SECONDS = 0.5
"""A file list as young as this is not brought up to date again: many readers share one look."""
STATISTICS_GRAIN = timedelta(milliseconds=1)
"""Spark cuts times in statistics to milliseconds."""
FIRST_FILES = 16
"""Files read at first when the newest rows are wanted; each further step takes twice as many."""
MOST_FILES = 5_000
"""Files that one answer may be taken from."""

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class DataFile:
    """One file of a table, and for each time column with statistics the least and greatest value in it."""

    fragment: ds.ParquetFileFragment
    rows: int
    least: dict[str, datetime | None]
    most: dict[str, datetime | None]

    def may_hold(self, column: str, since: datetime | None, until: datetime | None) -> bool:
        """Whether a row with ``since <= column < until`` can be in the file."""
        least, most = self.least.get(column), self.most.get(column)
        too_old = since is not None and most is not None and most + STATISTICS_GRAIN < since
        too_new = until is not None and least is not None and least >= until
        return not (too_old or too_new)


@dataclass(frozen=True)
class Snapshot:
    """A table at one version."""

    table: Table
    version: int
    schema: pa.Schema
    files: tuple[DataFile, ...]

    @property
    def rows(self) -> int:
        """Rows in all files, replaced revisions among them."""
        return sum(file.rows for file in self.files)


@dataclass
class _Followed:
    """What is kept of a table between looks."""

    lock: Lock = field(default_factory=Lock)
    delta: DeltaTable | None = None
    snapshot: Snapshot | None = None
    files: dict[str, DataFile] = field(default_factory=dict)
    looked_at: float = -1e9


class LakeReader:
    """The tables under ``root``, a folder or an object-store address (``s3a://…`` is understood, too).

    Its methods block and may be called from any thread; :meth:`run` calls them from the event loop. Every method takes
    a missing table as an empty one, and raises EnvironmentProblem when the storage cannot be read.
    """

    def __init__(self, root: str, *, seconds: float = 10.0, threads: int = 2) -> None:
        self.root = root.rstrip("/")
        self.seconds = seconds
        self._tables = {name: _Followed() for name in TABLES}
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="lake")

    async def run(self, read: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """Call ``read`` in a thread of the reader's own few.

        Raises:
            EnvironmentProblem: it took longer than ``seconds`` (the thread ends by itself).
        """
        call = functools.partial(read, *args, **named)
        try:
            async with asyncio.timeout(self.seconds):
                return await asyncio.get_running_loop().run_in_executor(self._pool, call)
        except TimeoutError:
            raise EnvironmentProblem(
                f"The tables did not answer within {self.seconds:g} s. Ask for less, or run jobs.maintain_tables."
            ) from None

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    # --- snapshots ---

    def snapshot(self, table: Table) -> Snapshot | None:
        """The table as it is now (at most half a second ago); None where there is no such table yet."""
        kept = self._tables.setdefault(table.name, _Followed())
        with kept.lock:
            if monotonic() - kept.looked_at >= FRESH_SECONDS:
                try:
                    self._look(kept, table)
                except (DeltaError, OSError) as error:
                    raise EnvironmentProblem(f"Table {table.name} cannot be read: {_first_line(error)}.") from error
                kept.looked_at = monotonic()
            return kept.snapshot

    def version(self, table: Table) -> int:
        """The newest version; -1 where there is no such table."""
        found = self.snapshot(table)
        return -1 if found is None else found.version

    def newest_time(self, table: Table) -> datetime | None:
        """The greatest ``table.time`` in any file, to the millisecond; None where there are no rows."""
        found = self.snapshot(table)
        times = [] if found is None else [file.most.get(table.time) for file in found.files]
        return max((time for time in times if time is not None), default=None)

    def expire(self, table: Table) -> None:
        """Look again at the next read: the caller has written."""
        self._tables.setdefault(table.name, _Followed()).looked_at = -1e9

    def _look(self, kept: _Followed, table: Table) -> None:
        try:
            if kept.delta is None:
                kept.delta = DeltaTable(self.path(table))
            else:
                kept.delta.update_incremental()
        except TableNotFoundError:
            kept.delta, kept.snapshot, kept.files = None, None, {}
            return
        version = kept.delta.version()
        if kept.snapshot is not None and kept.snapshot.version == version:
            return
        schema = pa.schema(kept.delta.schema().to_arrow())
        kept.files = self._files(kept, table)
        kept.snapshot = Snapshot(table, version, schema, tuple(kept.files.values()))

    def _files(self, kept: _Followed, table: Table) -> dict[str, DataFile]:
        """The files by name; those known already are taken over with what is known of their footers."""
        assert kept.delta is not None
        actions = pa.table(kept.delta.get_add_actions(flatten=True))
        names = actions["path"].to_pylist()
        new = [place for place, name in enumerate(names) if name not in kept.files]
        made = self._made(kept.delta, table, actions.take(new)) if new else {}
        return {name: kept.files.get(name) or made[name] for name in names}

    def _made(self, delta: DeltaTable, table: Table, actions: pa.Table) -> dict[str, DataFile]:
        files = self._file_system(delta, table)
        layout = ds.ParquetFileFormat(read_options=ds.ParquetReadOptions(coerce_int96_timestamp_unit="us"))
        times = [name for name in times_of(table) if f"min.{name}" in actions.column_names]
        return {
            row["path"]: DataFile(
                layout.make_fragment(row["path"], files),
                row["num_records"] or 0,
                {name: row[f"min.{name}"] for name in times},
                {name: row[f"max.{name}"] for name in times},
            )
            for row in actions.to_pylist()
        }

    def _file_system(self, delta: DeltaTable, table: Table) -> pyarrow.fs.FileSystem:
        place = self.path(table)
        if "://" not in place:
            return pyarrow.fs.SubTreeFileSystem(str(Path(place).resolve()), pyarrow.fs.LocalFileSystem())
        return pyarrow.fs.PyFileSystem(DeltaStorageHandler.from_table(delta._table))  # noqa: SLF001

    def path(self, table: Table) -> str:
        root = self.root.removeprefix("file://") if self.root.startswith("file:///") else self.root
        return f"{'s3' + root.removeprefix('s3a') if root.startswith('s3a://') else root}/{table.name}"

    # --- rows ---

    def rows(
        self,
        table: Table,
        *,
        columns: Sequence[str] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        by: str | None = None,
        where: pc.Expression | None = None,
    ) -> pa.Table:
        """All rows with ``since <= by < until``, where ``by`` is the table's time unless named; revisions and all."""
        found = self.snapshot(table)
        if found is None:
            return _empty(table, columns)
        by = by or table.time
        files = [file for file in found.files if file.may_hold(by, since, until)]
        _check_number(table, files)
        return self._read(found, files, columns, _within(by, since, until, where))

    def latest(
        self,
        table: Table,
        *,
        columns: Sequence[str] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        keys: pc.Expression | None = None,
    ) -> pa.Table:
        """The newest revision of every subject in the time range, in the order in which they were written.

        ``keys`` is a condition on the keys, or on what all revisions of a subject share: a condition on anything
        else would bring back replaced revisions, and is for the caller to apply to the result.
        """
        needed = _with_revision(table, columns)
        found = self.rows(table, columns=needed, since=since, until=until, where=keys)
        return _picked(latest_in_arrow(found, table) if table.revised else found, columns)

    def newest(
        self,
        table: Table,
        limit: int,
        *,
        columns: Sequence[str] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        keys: pc.Expression | None = None,
        where: pc.Expression | None = None,
    ) -> pa.Table:
        """The ``limit`` subjects with the greatest time, newest first, each in its newest revision.

        Files are read from the newest back, no further than is needed to know. ``keys`` as in :meth:`latest`; ``where``
        is any condition on the newest revisions (its columns must be among ``columns``).
        """
        snapshot = self.snapshot(table)
        if snapshot is None:
            return _empty(table, columns)
        by = table.time
        files = _newest_first([file for file in snapshot.files if file.may_hold(by, since, until)], by)
        needed, within = _with_revision(table, columns), _within(by, since, until, keys)
        parts: list[pa.Table] = []
        found = _empty(table, needed)
        taken, step = 0, FIRST_FILES
        while taken < len(files):
            _check_number(table, files[:taken])
            parts.append(self._read(snapshot, files[taken : taken + step], needed, within))
            taken, step = taken + step, 2 * step
            found = pa.concat_tables(parts)
            found = latest_in_arrow(found, table) if table.revised else found
            found = (found if where is None else found.filter(where)).sort_by([(by, "descending")])
            if found.num_rows >= limit and _all_before(files[taken:], by, found[by][limit - 1].as_py()):
                break
        return _picked(found.slice(0, limit), columns)

    def of_user(self, table: Table, user_id: str, limit: int, *, since: datetime | None = None) -> pa.Table:
        """The newest ``limit`` subjects of one user, newest first."""
        return self.newest(table, limit, since=since, keys=pc.field("user_id") == user_id)

    def _read(
        self, found: Snapshot, files: Iterable[DataFile], columns: Sequence[str] | None, where: pc.Expression | None
    ) -> pa.Table:
        fragments = [file.fragment for file in files]
        if not fragments:
            return _empty(found.table, columns, found.schema)
        dataset = ds.FileSystemDataset(fragments, found.schema, fragments[0].format, fragments[0].filesystem)
        wanted = None if columns is None else [name for name in columns if name in found.schema.names]
        try:
            return dataset.to_table(columns=wanted, filter=where, use_threads=len(fragments) > 2)
        except (OSError, pa.ArrowException) as error:
            raise EnvironmentProblem(f"Table {found.table.name} cannot be read: {_first_line(error)}.") from error


def times_of(table: Table) -> list[str]:
    """The time columns that Delta keeps statistics of."""
    names = {table.time, "batch_time", "ingested_at", *table.keys, *table.cluster_by} & set(table.statistics)
    return [name for name in table.columns if name in names and table.schema[name].dataType.typeName() == "timestamp"]


def arrow_schema(table: Table) -> pa.Schema:
    """The declared columns in Arrow's types."""
    from pyspark.sql.pandas.types import to_arrow_schema  # noqa: PLC0415  (it imports half of PySpark)

    return to_arrow_schema(table.schema, timezone="UTC")


def _empty(table: Table, columns: Sequence[str] | None, schema: pa.Schema | None = None) -> pa.Table:
    schema = arrow_schema(table) if schema is None else schema
    return _picked(schema.empty_table(), columns)


def _picked(rows: pa.Table, columns: Sequence[str] | None) -> pa.Table:
    return rows if columns is None else rows.select([name for name in columns if name in rows.column_names])


def _with_revision(table: Table, columns: Sequence[str] | None) -> list[str] | None:
    """The columns, and those that tell which revision is the newest."""
    if columns is None:
        return None
    revision = ("batch_time", "batch_id") if table.revised else ()
    return list(dict.fromkeys((*columns, *table.keys, table.time, *revision)))


def _within(
    by: str, since: datetime | None, until: datetime | None, where: pc.Expression | None
) -> pc.Expression | None:
    conditions = [] if where is None else [where]
    kind = pa.timestamp("us", "UTC")
    conditions += [] if since is None else [pc.field(by) >= pa.scalar(since, kind)]
    conditions += [] if until is None else [pc.field(by) < pa.scalar(until, kind)]
    return functools.reduce(lambda one, other: one & other, conditions) if conditions else None


def _newest_first(files: list[DataFile], by: str) -> list[DataFile]:
    """By the greatest time in each; a file without statistics may hold anything and comes first."""
    return sorted(files, key=lambda file: _when(file.most.get(by)), reverse=True)


def _when(time: datetime | None) -> float:
    return float("inf") if time is None else time.timestamp()


def _all_before(files: Sequence[DataFile], by: str, time: datetime | None) -> bool:
    """Whether every row of the files, which come newest first, is of an earlier time."""
    return not files or _when(files[0].most.get(by)) + STATISTICS_GRAIN.total_seconds() < _when(time)


def _check_number(table: Table, files: Sequence[Any]) -> None:
    if len(files) > MOST_FILES:
        raise EnvironmentProblem(
            f"Table {table.name} has over {MOST_FILES} files for this question: "
            "run jobs.maintain_tables, or ask for a shorter time."
        )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300].rstrip(".")
