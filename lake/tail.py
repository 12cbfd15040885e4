"""New rows of a Delta table, read without Spark: what a watcher sees, when it can be seen.

What is new is told by the table's versions, commit by commit, and by no clock: a batch that was written when the
machine's clock stood wrong is as new as any other.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from features.tables import Table
from lake.folders import ArrowFolder
from lake.location import TableLocation
from lake.log import CommitFollower
from lake.snapshot import OpenTable, environment_problem, fragment


@dataclass(frozen=True)
class _Added:
    """Files that commits have appended, and whether rows were taken away or replaced."""

    files: tuple[str, ...]
    rewritten: bool = False


class Tail:
    """Follows the appends to ``table`` under ``root``. Files rewritten by maintenance are not taken for new rows.

    ``time`` names a column whose greatest value is told as :attr:`newest` (``batch_time`` or ``ingested_at``).

    Attributes:
        rows: in the table at the last call.
        rewritten: whether rows were deleted or replaced since this was last set to false; that files were joined is no
            news.
    """

    def __init__(self, root: str, table: Table, time: str = "batch_time") -> None:
        self.location = TableLocation.under(root, table)
        self.table = table
        self.time = time
        self.rows = 0
        self.rewritten = False
        self.version: int | None = None
        """Up to here commits are known; None: there was no table."""
        self.newest: datetime | None = None
        """The greatest ``time`` among the rows that are known."""
        self._opened = OpenTable(self.location)

    def skip(self) -> None:
        """Take all that is there as known.

        Raises:
            EnvironmentProblem: the table cannot be read.
        """
        with self._readable():
            if not self._opened.refresh():
                return
            files = self._opened.files.values()
            self.version, self.rows = self._opened.version, sum(file.rows for file in files)
            times = [file.most.get(self.time) for file in files]
            self.newest = max((time for time in times if time is not None), default=None)

    def poll(self, columns: list[str] | None = None) -> pa.Table | None:
        """Count, and read the given ``columns`` of, the rows appended since the last call; None when there are none.

        Raises:
            EnvironmentProblem: the table cannot be read; the next call reads the same rows.
        """
        with self._readable():
            if not self._opened.refresh() or self._opened.version == self.version:
                return None
            files = self._opened.files
            added = _Added(tuple(files)) if self.version is None else self._added_since(self.version)
            rows = self._rows(added.files, columns) if columns is not None else None
            self.version, self.rows = self._opened.version, sum(file.rows for file in files.values())
        self.rewritten = self.rewritten or added.rewritten
        if rows is None or not rows.num_rows:
            return None
        newest = pc.max(rows[self.time]).as_py()
        self.newest = newest if self.newest is None else max(self.newest, newest)
        return rows

    def _readable(self) -> AbstractContextManager[None]:
        return environment_problem(f"Table {self.table.name} cannot be read")

    def _added_since(self, known: int) -> _Added:
        """What the commits after ``known`` have brought, up to the version that is open."""
        until, files, rewritten = self._opened.version, dict[str, None](), False
        commits = CommitFollower(ArrowFolder(self._opened.file_system), known)
        for commit in commits.poll(until):
            if commit.removed:
                rewritten = True
                for path in commit.removed:  # what was deleted is not read from the file that still has it
                    files.pop(path, None)
            else:
                files.update(dict.fromkeys(commit.added))
        if commits.version < until:  # one went by unseen, with whatever it did
            return _Added((), rewritten=True)
        return _Added(tuple(files), rewritten)

    def _rows(self, paths: Iterable[str], columns: list[str]) -> pa.Table | None:
        """Rows of these files, without a look at all the others: a table that is not compacted has thousands."""
        needed = [*dict.fromkeys((*columns, self.time))]
        schema, tables = self._opened.schema, []
        for path in paths:
            try:
                rows = fragment(self._opened.file_system, path).to_table(schema=schema, columns=needed)
            except FileNotFoundError:  # joined with others and deleted since
                self.rewritten = True
            else:
                tables.append(rows)
        return pa.concat_tables(tables) if tables else None
