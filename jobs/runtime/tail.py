"""New rows of a Delta table, read without Spark: what a watcher sees, when it can be seen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError
from deltalake.fs import DeltaStorageHandler

from features.tables import Table


@dataclass
class Tail:
    """Follows the appends to one table. Files rewritten by maintenance are not taken for new rows.

    ``time`` names the column whose values grow from append to append (``batch_time`` or ``ingested_at``).
    """

    path: str
    table: Table
    time: str = "batch_time"
    rows: int = 0
    rewritten: bool = False
    """Whether files went away since this was last set to false: rows may have been deleted, or only files joined."""
    _delta: DeltaTable | None = None
    _seen: set[str] = field(default_factory=set)
    _newest: datetime | None = None

    def skip(self) -> None:
        """Take all that is there as known."""
        if self._refresh():
            added = self._added()
            self._seen = set(added)
            self.rows = sum(added.values())
            self._newest = self._latest_time()

    def poll(self, columns: list[str] | None = None) -> pa.Table | None:
        """Count, and read the given ``columns`` of, the rows appended since the last call; None when there are none."""
        if not self._refresh():
            return None
        added = self._added()
        fresh = set(added) - self._seen
        self.rewritten = self.rewritten or bool(self._seen - set(added))
        self._seen = set(added)
        self.rows = sum(added.values())
        if not fresh or columns is None:
            return None
        wanted = [*dict.fromkeys((*columns, self.time))]
        tables = [fragment.to_table(schema=schema, columns=wanted) for fragment, schema in self._fragments(fresh)]
        rows = pa.concat_tables(tables) if tables else None
        if rows is not None and self._newest is not None:
            rows = rows.filter(pc.greater(rows[self.time], pa.scalar(self._newest, rows[self.time].type)))
        if rows is None or not rows.num_rows:
            return None
        self._newest = pc.max(rows[self.time]).as_py()
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
            if self._delta is None:
                self._delta = DeltaTable(self.path)
            else:
                self._delta.update_incremental()
        except TableNotFoundError:
            return False
        return True

    def _fragments(self, names: Iterable[str]) -> Iterator[tuple[ds.Fragment, pa.Schema]]:
        """The named files, without a look at all the others: a table that is not compacted has thousands."""
        assert self._delta is not None
        schema = pa.schema(self._delta.schema().to_arrow())
        layout = ds.ParquetFileFormat(read_options=ds.ParquetReadOptions(coerce_int96_timestamp_unit="us"))
        if "://" in self.path:
            system: pyarrow.fs.FileSystem = pyarrow.fs.PyFileSystem(DeltaStorageHandler.from_table(self._delta._table))  # noqa: SLF001
        else:
            system = pyarrow.fs.SubTreeFileSystem(str(Path(self.path).resolve()), pyarrow.fs.LocalFileSystem())
        for name in sorted(names):
            yield layout.make_fragment(name, system), schema

    def _added(self) -> dict[str, int]:
        assert self._delta is not None
        actions = pa.table(self._delta.get_add_actions(flatten=True))
        return dict(zip(actions["path"].to_pylist(), actions["num_records"].to_pylist(), strict=True))

    def _latest_time(self) -> datetime | None:
        assert self._delta is not None
        column = f"max.{self.time}"
        actions = pa.table(self._delta.get_add_actions(flatten=True))
        return pc.max(actions[column]).as_py() if column in actions.column_names else None
