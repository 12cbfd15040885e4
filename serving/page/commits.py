"""The newest commits of a Delta table, read from its log alone: a look costs one small file per commit, however long
the table's history is. Works in a folder and in an object store."""

from __future__ import annotations

import json
from dataclasses import dataclass
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.fs import DeltaStorageHandler

from jobs.runtime import commit_notes

GAP = 30
"""After so many looks without a commit it is seen whether the table is still the same one."""


@dataclass(frozen=True)
class Commit:
    """A commit that brought new rows; rewrites by maintenance are none.

    ``at`` is when it was written, in seconds since 1970; ``batch`` is the id of the micro-batch that wrote it.
    """

    version: int
    at: float
    rows: int
    files: tuple[str, ...]
    batch: str | None


class Commits:
    """Follows a table from ``back`` commits before now on."""

    def __init__(self, path: str, back: int = 200) -> None:
        self.path = path
        self.back = back
        self.version = -1
        """The newest version that was seen; -1 while there is no table."""
        self._files: pafs.FileSystem | None = None
        self._quiet = 0

    def poll(self) -> list[Commit]:
        """Commits with new rows since the last call, oldest first."""
        if (self._files is None or self._is_gone()) and not self._open():
            return []
        found = []
        self._quiet += 1
        while (text := self._text(_log(self.version + 1))) is not None:
            self.version += 1
            self._quiet = 0
            commit = commit_of(self.version, text)
            if commit is not None:
                found.append(commit)
        return found

    def read(self, commit: Commit, columns: list[str]) -> pa.Table | None:
        """The given columns of a commit's rows; None where maintenance has removed its files already."""
        assert self._files is not None
        try:
            parts = [pq.read_table(self._files.open_input_file(name), columns=columns) for name in commit.files]
        except OSError:
            return None
        return pa.concat_tables(parts) if parts else None

    def _open(self) -> bool:
        self._quiet = 0
        if not DeltaTable.is_deltatable(self.path):
            self._files, self.version = None, -1
            return False
        self._files = pafs.PyFileSystem(DeltaStorageHandler(self.path))
        self.version = max(-1, DeltaTable(self.path).version() - self.back)
        return True

    def _is_gone(self) -> bool:
        """Whether, after a while without commits, the log no longer has the newest one: the table was made anew."""
        return self._quiet >= GAP and self.version >= 0 and self._text(_log(self.version)) is None

    def _text(self, name: str) -> bytes | None:
        assert self._files is not None
        try:
            with self._files.open_input_file(name) as file:
                return bytes(file.read())
        except OSError:
            return None


def _log(version: int) -> str:
    return f"_delta_log/{version:020d}.json"


def commit_of(version: int, text: bytes) -> Commit | None:
    """What a file of the log says; None when it brought no new rows."""
    rows, at, files, batch = 0, 0.0, [], None
    for line in text.splitlines():
        action = json.loads(line)
        if "commitInfo" in action:
            at = action["commitInfo"].get("timestamp", 0) / 1000
            note = action["commitInfo"].get("userMetadata")
            batch = None if note is None else commit_notes.read(note).batch_id
        elif action.get("add", {}).get("dataChange"):
            rows += json.loads(action["add"].get("stats") or "{}").get("numRecords", 0)
            files.append(unquote(action["add"]["path"]))
        elif action.get("remove", {}).get("dataChange"):
            return None
    return Commit(version, at, rows, tuple(files), batch) if files else None
