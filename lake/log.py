"""A Delta table followed commit by commit, from the small files of its log alone.

A look costs one small file per commit, however long the table's history is, wherever the table is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import unquote

import pyarrow as pa
from pyarrow import fs

from lake import commit_notes
from lake.commit_notes import Note
from lake.folders import ArrowFolder, Folder
from lake.location import TableLocation
from lake.snapshot import OpenTable, fragment

LOG = "_delta_log"
NO_VERSION = -1
"""The version before the first one."""


@dataclass(frozen=True)
class Commit:
    """What a commit did to the rows. Files that maintenance joins are neither added nor removed: no row has changed.

    Attributes:
        at: when it was written, in seconds since 1970.
        rows: how many it added.
        added: files with new rows, by their paths in the table.
        removed: files whose rows it deleted or replaced.
        joined: files whose rows it wrote to other files as they were.
        note: what it says of the batch that wrote it.
        names_files: whether it names any data file at all.
        changes_table: whether it changes the table's columns or properties.
    """

    version: int
    at: float
    rows: int
    added: tuple[str, ...]
    removed: tuple[str, ...]
    joined: tuple[str, ...]
    note: Note | None
    names_files: bool
    changes_table: bool

    @property
    def appends(self) -> bool:
        """Whether it brought new rows and changed nothing else."""
        return bool(self.added) and not self.removed

    @property
    def batch(self) -> str | None:
        """The id of the batch that wrote it."""
        return None if self.note is None else self.note.batch_id


def parse(version: int, text: bytes) -> Commit:
    """The commit that a file of the log is: an action in JSON per line."""
    at, rows, note, names_files, changes_table = 0.0, 0, None, False, False
    added: list[str] = []
    removed: list[str] = []
    joined: list[str] = []
    for line in text.splitlines():
        action = json.loads(line)
        if (info := action.get("commitInfo")) is not None:
            at = info.get("timestamp", 0) / 1000
            metadata = info.get("userMetadata")
            note = None if metadata is None else commit_notes.read(str(metadata))
        elif (add := action.get("add")) is not None:
            names_files = True
            if add.get("dataChange"):
                rows += json.loads(add.get("stats") or "{}").get("numRecords", 0)
                added.append(unquote(add["path"]))
        elif (remove := action.get("remove")) is not None:
            names_files = True
            (removed if remove.get("dataChange") else joined).append(unquote(remove["path"]))
        elif "metaData" in action or "protocol" in action:
            changes_table = True
    return Commit(version, at, rows, tuple(added), tuple(removed), tuple(joined), note, names_files, changes_table)


def file_of(version: int) -> str:
    """The file of a commit, by its path in the table."""
    return f"{LOG}/{version:020d}.json"


def commit_of(table: Folder, version: int) -> Commit | None:
    """A commit of the table in that folder; None where its log has none such, yet or any more."""
    text = table.read(file_of(version))
    return None if text is None else parse(version, text)


def versions(table: Folder) -> list[int]:
    """The commits that the log of the table in that folder has, in order."""
    names = (file.name.removesuffix(".json") for file in table.listing(LOG) if file.name.endswith(".json"))
    return sorted(int(name) for name in names if name.isdigit())


class CommitFollower:
    """Reads the commits of the table in a folder one after another; ``version`` is the newest one read."""

    def __init__(self, table: Folder, version: int = NO_VERSION) -> None:
        self.table = table
        self.version = version

    def poll(self, until: int | None = None) -> Iterator[Commit]:
        """The commits after :attr:`version`, oldest first, up to the newest, or to version ``until``.

        Ends early at one that is gone from the log: :attr:`version` stays below ``until`` then.
        """
        while until is None or self.version < until:
            text = self.table.read(file_of(self.version + 1))
            if text is None:
                return
            self.version += 1
            yield parse(self.version, text)


GAP = 30
"""After so many looks without a commit it is seen whether the table is still the same one."""


class RecentCommits:
    """The appends to a table, from ``back`` commits before now on. It need not be there yet, and may be made anew."""

    def __init__(self, location: TableLocation, back: int = 200) -> None:
        self.location = location
        self.back = back
        self._follower: CommitFollower | None = None
        self._quiet = 0

    @cached_property
    def file_system(self) -> fs.FileSystem:
        return self.location.file_system()

    @property
    def version(self) -> int:
        """The newest version that was seen; -1 while there is no table."""
        return NO_VERSION if self._follower is None else self._follower.version

    def poll(self) -> list[Commit]:
        """Appends since the last call, oldest first."""
        if self._follower is None or self._is_gone(self._follower):
            self._follower = self._open()
        appends: list[Commit] = []
        if self._follower is None:
            return appends
        self._quiet += 1
        with suppress(OSError):  # the next look goes on from there
            for commit in self._follower.poll():
                self._quiet = 0
                if commit.appends:
                    appends.append(commit)
        return appends

    def read(self, commit: Commit, columns: Sequence[str]) -> pa.Table | None:
        """The given columns of a commit's rows; None where maintenance has removed its files already."""
        try:
            parts = [fragment(self.file_system, path).to_table(columns=list(columns)) for path in commit.added]
        except OSError:
            return None
        return pa.concat_tables(parts) if parts else None

    def _open(self) -> CommitFollower | None:
        self._quiet = 0
        table = OpenTable(self.location)
        if not table.refresh():
            return None
        return CommitFollower(ArrowFolder(self.file_system), max(NO_VERSION, table.version - self.back))

    def _is_gone(self, follower: CommitFollower) -> bool:
        """Whether, after a while without commits, the log no longer has the newest one: the table was made anew."""
        return self._quiet >= GAP and follower.version >= 0 and follower.table.read(file_of(follower.version)) is None
