"""New rows of a Delta table, read without Spark: what a watcher sees, when it can be seen.

What is new is told by the table's versions, commit by commit, and by no clock: a batch that was written when the
machine's clock stood wrong is as new as any other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError
from deltalake.fs import DeltaStorageHandler

from features.tables import Table


@dataclass(frozen=True)
class _News:
    """Files that commits have appended, and whether rows were taken away or replaced."""

    files: tuple[str, ...]
    rewritten: bool


@dataclass
class Tail:
    """Follows the appends to one table. Files rewritten by maintenance are not taken for new rows.

    ``time`` names a column whose greatest value is told as :attr:`newest` (``batch_time`` or ``ingested_at``).
    """

    path: str
    table: Table
    time: str = "batch_time"
    rows: int = 0
    rewritten: bool = False
    """Whether rows were deleted or replaced since this was last set to false; that files were joined is no news."""
    _delta: DeltaTable | None = None
    _version: int | None = None
    """Up to here commits are known; None: there was no table."""
    _newest: datetime | None = None

    def skip(self) -> None:
        """Take all that is there as known."""
        if self._refresh():
            assert self._delta is not None
            self._version = self._delta.version()
            self.rows = sum(self._added().values())
            self._newest = self._latest_time()

    def poll(self, columns: list[str] | None = None) -> pa.Table | None:
        """Count, and read the given ``columns`` of, the rows appended since the last call; None when there are none."""
        if not self._refresh():
            return None
        assert self._delta is not None
        version, known = self._delta.version(), self._version
        if version == known:
            return None
        added = self._added()
        news = _News(tuple(added), rewritten=False) if known is None else self._between(known, version)
        rows = self._rows(news.files, columns) if columns is not None else None
        self._version, self.rows = version, sum(added.values())
        self.rewritten = self.rewritten or news.rewritten
        if rows is None or not rows.num_rows:
            return None
        newest = pc.max(rows[self.time]).as_py()
        self._newest = newest if self._newest is None else max(self._newest, newest)
        return rows

    @property
    def newest(self) -> datetime | None:
        """The greatest ``time`` among the rows that are known."""
        return self._newest

    @property
    def delta(self) -> DeltaTable | None:
        """The table as of the last call; None where there was none."""
        return self._delta

    def _refresh(self) -> bool:
        try:
            if self._delta is not None:
                try:
                    self._delta.update_incremental()
                    return True
                except DeltaError:  # commits in between are gone from the log, which starts anew at a checkpoint
                    self._delta = None
            self._delta = DeltaTable(self.path)
        except TableNotFoundError:
            return False
        return True

    def _between(self, known: int, version: int) -> _News:
        """What the commits after ``known`` up to ``version`` have brought."""
        system, fresh, rewritten = self._system(), dict[str, None](), False
        for number in range(known + 1, version + 1):
            try:
                with system.open_input_stream(f"_delta_log/{number:020d}.json") as file:
                    actions = [json.loads(line) for line in file.read().splitlines()]
            except FileNotFoundError:  # it went by unseen, with whatever it did
                return _News((), rewritten=True)
            added, removed = (
                [unquote(action[kind]["path"]) for action in actions if action.get(kind, {}).get("dataChange")]
                for kind in ("add", "remove")
            )
            if removed:
                rewritten = True
                for name in removed:  # what was deleted is not read from the file that still has it
                    fresh.pop(name, None)
            else:
                fresh.update(dict.fromkeys(added))
        return _News(tuple(fresh), rewritten)

    def _rows(self, names: Iterable[str], columns: list[str]) -> pa.Table | None:
        """Rows of the named files, without a look at all the others: a table that is not compacted has thousands."""
        assert self._delta is not None
        wanted = [*dict.fromkeys((*columns, self.time))]
        schema, system = pa.schema(self._delta.schema().to_arrow()), self._system()
        layout = ds.ParquetFileFormat(read_options=ds.ParquetReadOptions(coerce_int96_timestamp_unit="us"))
        tables = []
        for name in names:
            try:
                tables.append(layout.make_fragment(name, system).to_table(schema=schema, columns=wanted))
            except FileNotFoundError:  # joined with others and deleted since
                self.rewritten = True
        return pa.concat_tables(tables) if tables else None

    def _system(self) -> pyarrow.fs.FileSystem:
        """Paths in it are relative to the table."""
        assert self._delta is not None
        if "://" in self.path:
            return pyarrow.fs.PyFileSystem(DeltaStorageHandler.from_table(self._delta._table))  # noqa: SLF001
        return pyarrow.fs.SubTreeFileSystem(str(Path(self.path).resolve()), pyarrow.fs.LocalFileSystem())

    def _added(self) -> dict[str, int]:
        assert self._delta is not None
        actions = pa.table(self._delta.get_add_actions(flatten=True))
        return dict(zip(actions["path"].to_pylist(), actions["num_records"].to_pylist(), strict=True))

    def _latest_time(self) -> datetime | None:
        assert self._delta is not None
        column = f"max.{self.time}"
        actions = pa.table(self._delta.get_add_actions(flatten=True))
        return pc.max(actions[column]).as_py() if column in actions.column_names else None
