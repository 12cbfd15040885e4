"""The online view in a file of SQLite: one process writes, others read beside it."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from features.errors import EnvironmentProblem
from online.store import Entry, Kept

SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    user TEXT NOT NULL, kind TEXT NOT NULL, place TEXT NOT NULL, revision INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (user, kind, place)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
PUT = """
INSERT INTO entries VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET revision = excluded.revision, body = excluded.body WHERE excluded.revision >= revision
"""
BUSY_SECONDS = 10.0
CACHE_BYTES = 64 << 20


class SqliteStore:
    """A file that is made when it is not there. What is removed is overwritten, so that no byte of it is left.

    Args:
        read_only: nothing is made or changed; where there is no file, nothing is known of anybody.
    """

    def __init__(self, path: str, *, read_only: bool = False) -> None:
        self.path = Path(path)
        self.read_only = read_only
        self._own = threading.local()
        self._all: list[sqlite3.Connection] = []
        if not read_only:
            with self._problems():
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._connection().executescript(SCHEMA)

    def put(self, entries: Iterable[Entry], noted: Mapping[str, str]) -> None:
        with self._problems(), self._connection() as connection:
            connection.executemany(PUT, ((one.user, one.kind, one.place, one.revision, one.body) for one in entries))
            connection.executemany("INSERT OR REPLACE INTO notes VALUES (?, ?)", noted.items())

    def of(self, users: Sequence[str], limits: Mapping[str, int]) -> dict[str, list[Kept]]:
        if self.read_only and not self.path.exists():
            return {}
        query = f"""SELECT place, body FROM entries
            WHERE user IN ({", ".join("?" * len(users))}) AND kind = ? ORDER BY place DESC LIMIT ?"""
        with self._problems():
            connection = self._connection()
            return {
                kind: [Kept(*row) for row in connection.execute(query, (*users, kind, limit))]
                for kind, limit in limits.items()
            }

    def noted(self) -> dict[str, str]:
        if self.read_only and not self.path.exists():
            return {}
        with self._problems():
            return dict(self._connection().execute("SELECT name, value FROM notes"))

    def forget(self, users: Collection[str]) -> None:
        with self._problems():
            with self._connection() as connection:
                connection.executemany("DELETE FROM entries WHERE user = ?", ((user,) for user in users))
            self._shrink()

    def expire(self, before: Mapping[str, str]) -> None:
        with self._problems(), self._connection() as connection:
            connection.executemany("DELETE FROM entries WHERE kind = ? AND place < ?", before.items())

    def clear(self) -> None:
        with self._problems():
            with self._connection() as connection:
                connection.execute("DELETE FROM entries")
                connection.execute("DELETE FROM notes")
            self._shrink()

    def close(self) -> None:
        for connection in self._all:
            connection.close()
        self._all.clear()
        self._own = threading.local()

    def _shrink(self) -> None:
        """Have the log of changes, which holds what was there before, brought in and emptied."""
        (busy, *_), *_ = self._connection().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        if busy:
            raise EnvironmentProblem(f"{self.path} is read without a pause: what was removed is in its log yet.")

    def _connection(self) -> sqlite3.Connection:
        """Of this thread."""
        there: sqlite3.Connection | None = getattr(self._own, "connection", None)
        if there is None:
            mode = "ro" if self.read_only else "rwc"
            address = f"{self.path.resolve().as_uri()}?mode={mode}"
            there = sqlite3.connect(address, BUSY_SECONDS, uri=True, check_same_thread=False)
            there.execute(f"PRAGMA cache_size = {-(CACHE_BYTES >> 10)}")
            if not self.read_only:
                there.execute("PRAGMA journal_mode = WAL")
                there.execute("PRAGMA synchronous = NORMAL")  # a lost end is read from the tables again
                there.execute("PRAGMA secure_delete = ON")
            self._own.connection = there
            self._all.append(there)
        return there

    @contextmanager
    def _problems(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise EnvironmentProblem(
                f"The online view at {self.path} cannot be used: {error}. Move it away (online.path) to have it made "
                "anew from the tables: python -m jobs.fill_online --anew."
            ) from error
