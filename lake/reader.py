"""Tables as the server reads them: without Spark, off the event loop, and never all of a table.

A table's file list is kept and brought up to date with the commits since the last look, so a look costs what is new.
Files are passed over by the least and greatest times that Delta keeps of each; within a file, parquet's own footer lets
a read of one user skip row groups. Everything is bounded: by a time range, a number of rows, and a number of files.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock
from time import monotonic
from typing import Any, ParamSpec, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from features.errors import EnvironmentProblem
from features.revisions import latest_in_arrow
from features.tables import Table
from lake.location import TableLocation
from lake.schemas import arrow_schema
from lake.snapshot import PARQUET, STATISTICS_GRAIN, DataFile, OpenTable, environment_problem, first_line, fragment

FRESH_SECONDS = 0.5
"""A file list as young as this is not brought up to date again: many readers share one look."""
FIRST_FILES = 16
"""Files read at first when the newest rows are wanted; each further step takes twice as many."""
MAX_FILES = 5_000
"""Files that one answer may be taken from."""

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Snapshot:
    """A table at one version."""

    table: Table
    version: int
    identity: str
    schema: pa.Schema
    files: tuple[DataFile, ...]
    fragments: Mapping[str, ds.ParquetFileFragment]
    """The files as Arrow reads them, by their paths, with what is known of their footers."""

    @property
    def rows(self) -> int:
        """Rows in all files, replaced revisions among them."""
        return sum(file.rows for file in self.files)


@dataclass
class _Followed:
    """What is kept of a table between looks."""

    opened: OpenTable
    lock: Lock = field(default_factory=Lock)
    snapshot: Snapshot | None = None
    looked_at: float = -1e9


class LakeReader:
    """The tables under ``root``, a folder or an object-store address (``s3a://…`` is understood, too).

    Its methods block and may be called from any thread; :meth:`run` calls them from the event loop. Every method takes
    a missing table as an empty one, and raises EnvironmentProblem when the storage cannot be read.
    """

    def __init__(self, root: str, *, seconds: float = 10.0, threads: int = 2) -> None:
        self.root = root.rstrip("/")
        self.seconds = seconds
        self._tables: dict[str, _Followed] = {}
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
        kept = self._followed(table)
        with kept.lock:
            if monotonic() - kept.looked_at >= FRESH_SECONDS:
                with environment_problem(f"Table {table.name} cannot be read"):
                    kept.snapshot = _look(kept, table)
                kept.looked_at = monotonic()
            return kept.snapshot

    def version(self, table: Table) -> int:
        """The newest version; -1 where there is no such table."""
        snapshot = self.snapshot(table)
        return -1 if snapshot is None else snapshot.version

    def newest_time(self, table: Table) -> datetime | None:
        """The greatest ``table.time`` in any file, to the millisecond; None where there are no rows."""
        snapshot = self.snapshot(table)
        times = [] if snapshot is None else [file.most.get(table.time) for file in snapshot.files]
        return max((time for time in times if time is not None), default=None)

    def expire(self, table: Table) -> None:
        """Look again at the next read: the caller has written."""
        self._followed(table).looked_at = -1e9

    def location(self, table: Table) -> TableLocation:
        return TableLocation.under(self.root, table)

    def _followed(self, table: Table) -> _Followed:
        return self._tables.setdefault(table.name, _Followed(OpenTable(self.location(table))))

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
        snapshot = self.snapshot(table)
        if snapshot is None:
            return _empty(table, columns)
        by = by or table.time
        files = [file for file in snapshot.files if file.may_hold(by, since, until)]
        _check_number(table, files)
        return self._read(snapshot, files, columns, _within(by, since, until, where))

    def dataset(self, table: Table, *, since: datetime | None = None, until: datetime | None = None) -> ds.Dataset:
        """The files that may have rows with ``since <= table.time < until``, for an engine that reads them in parts.

        Raises:
            EnvironmentProblem: the table cannot be read.
        """
        snapshot = self.snapshot(table)
        if snapshot is None:
            return ds.dataset(arrow_schema(table).empty_table())
        files = [file for file in snapshot.files if file.may_hold(table.time, since, until)]
        fragments = [snapshot.fragments[file.path] for file in files]
        return ds.FileSystemDataset(fragments, snapshot.schema, PARQUET, self._followed(table).opened.file_system)

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
        rows = self.rows(table, columns=needed, since=since, until=until, where=keys)
        return _picked(latest_in_arrow(rows, table) if table.revised else rows, columns)

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
        rows = _empty(table, needed)
        done, step = 0, FIRST_FILES
        while done < len(files):
            _check_number(table, files[:done])
            parts.append(self._read(snapshot, files[done : done + step], needed, within))
            done, step = done + step, 2 * step
            rows = pa.concat_tables(parts)
            rows = latest_in_arrow(rows, table) if table.revised else rows
            rows = (rows if where is None else rows.filter(where)).sort_by([(by, "descending")])
            if rows.num_rows >= limit and _all_before(files[done:], by, rows[by][limit - 1].as_py()):
                break
        return _picked(rows.slice(0, limit), columns)

    def of_user(self, table: Table, user_id: str, limit: int, *, since: datetime | None = None) -> pa.Table:
        """The newest ``limit`` subjects of one user, newest first."""
        return self.newest(table, limit, since=since, keys=pc.field("user_id") == user_id)

    def _read(
        self, snapshot: Snapshot, files: Iterable[DataFile], columns: Sequence[str] | None, where: pc.Expression | None
    ) -> pa.Table:
        fragments = [snapshot.fragments[file.path] for file in files]
        if not fragments:
            return _empty(snapshot.table, columns, snapshot.schema)
        dataset = ds.FileSystemDataset(fragments, snapshot.schema, fragments[0].format, fragments[0].filesystem)
        existing = None if columns is None else [name for name in columns if name in snapshot.schema.names]
        try:
            return dataset.to_table(columns=existing, filter=where, use_threads=len(fragments) > 2)
        except (OSError, pa.ArrowException) as error:
            raise EnvironmentProblem(f"Table {snapshot.table.name} cannot be read: {first_line(error)}.") from error


def _look(kept: _Followed, table: Table) -> Snapshot | None:
    """The table as it is now; of the files that were there before, what is known is kept."""
    before, opened = kept.snapshot, kept.opened
    if not opened.refresh():
        return None
    if before is not None and before.version == opened.version:
        return before
    known = {} if before is None else before.fragments
    fragments = {path: known.get(path) or fragment(opened.file_system, path) for path in opened.files}
    return Snapshot(table, opened.version, opened.identity, opened.schema, tuple(opened.files.values()), fragments)


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
    if len(files) > MAX_FILES:
        raise EnvironmentProblem(
            f"Table {table.name} has over {MAX_FILES} files for this question: "
            "run jobs.maintain_tables, or ask for a shorter time."
        )
