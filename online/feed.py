"""Fills the online view: the tables' logs are followed, and what a commit has appended is kept by person.

Nothing is remembered here: the view itself notes up to which version of each table it has come. Who begins without a
note, or whose next commit is gone from the log, or its files, reads what is there of the last days. Taking a commit
twice changes nothing, so a kill at any moment loses and doubles nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from features.errors import BehaviorError, ConfigurationError
from features.tables import ALERTS, FEATURE_TABLE, PATTERN_MEMBERS, SCORES, SEGMENTS, Table
from lake.folders import ArrowFolder
from lake.location import TableLocation
from lake.log import CommitFollower
from lake.snapshot import OpenTable, environment_problem, fragment
from online import entries
from online.configured import store_of
from online.store import Entry, Store
from settings import Settings
from streams import claims

log = logging.getLogger(__name__)

FOLLOWED = (FEATURE_TABLE, SCORES, ALERTS, PATTERN_MEMBERS)
EXPIRES = {SCORES: entries.MINUTE, ALERTS: entries.ALERT}
"""Tables with entries that grow old, of which kind."""
NEWEST, IDENTITY = "newest ", "identity "
"""Before a table's name: notes with the newest time in it, in seconds since 1970, and of which table it is."""
ROWS_AT_ONCE = 20_000


def oldest(noted: Mapping[str, str], table: Table, settings: Settings) -> str:
    """The least place of ``table`` that is still shown: so many days before its newest time."""
    return entries.place_of(int(noted.get(NEWEST + table.name, 0)) - 86_400 * settings.serving.look_back_days)


def identity_of(identity: str) -> str:
    """Of a view of the table with this identity: another one is of other tables, or of another version of ours."""
    return f"{identity} {entries.LAYOUT}"


class Feed:
    """Takes what is new in the tables into ``store``."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self.store, self.settings = store, settings
        self.days = timedelta(days=settings.serving.look_back_days)
        self._tables = {table: OpenTable(TableLocation.under(settings.storage.root, table)) for table in FOLLOWED}
        self._segments = OpenTable(TableLocation.under(settings.storage.root, SEGMENTS))
        self._noted = store.noted()

    def poll(self) -> int:
        """Take in what is new; returns the number of rows.

        Raises:
            EnvironmentProblem: the tables or the view cannot be reached; the next call goes on from there.
        """
        return sum(self._take(table, there) for table, there in self._tables.items())

    def _take(self, table: Table, there: OpenTable) -> int:
        with environment_problem(f"Table {table.name} cannot be read"):
            if not there.refresh():
                return 0
            mine = identity_of(there.identity)
            if self._noted.get(IDENTITY + table.name, mine) != mine:
                raise BehaviorError(
                    f"The online view is of another table {table.name} than {there.location.address}, or of another "
                    "version of the platform. Have it made anew: python -m jobs.fill_online --anew; or give it a place "
                    "of its own (online.path)."
                )
            known = self._noted.get(table.name)
            if known is None or int(known) > there.version:
                return self._begin(table, there)
            if int(known) == there.version:
                return 0
            commits = CommitFollower(ArrowFolder(there.file_system), int(known))
            rows = 0
            try:
                for commit in commits.poll(there.version):
                    added = self._rows(table, there, commit.added if commit.appends else ())
                    rows += self._keep(table, there, added, commit.version)
            except FileNotFoundError:  # joined with others, and deleted since
                return rows + self._begin(table, there)
            return rows if commits.version == there.version else rows + self._begin(table, there)

    def _begin(self, table: Table, there: OpenTable) -> int:
        """All rows of the last days, as the table is now."""
        times = [time for one in there.files.values() if (time := one.most.get(table.time)) is not None]
        since = max(times) - self.days if times else None
        near = [path for path, file in there.files.items() if file.may_hold(table.time, since, None)]
        log.info("online view: %d files of %s are read", len(near), table.name)
        return self._keep(table, there, self._rows(table, there, near), there.version)

    def _rows(self, table: Table, there: OpenTable, paths: Iterable[str]) -> Iterator[pa.Table]:
        for path in paths:
            part = fragment(there.file_system, path)
            for batch in part.to_batches(columns=list(entries.COLUMNS[table]), batch_size=ROWS_AT_ONCE):
                yield pa.Table.from_batches([batch])

    def _keep(self, table: Table, there: OpenTable, parts: Iterable[pa.Table], version: int) -> int:
        """Keep the rows; that they are is noted with the last of them."""
        rows = 0
        newest = int(self._noted.get(NEWEST + table.name, 0))
        for part in parts:
            if part.num_rows:
                newest = max(newest, int(pc.max(part[table.time]).as_py().timestamp()))
                self.store.put(self._entries(table, part), {})
                rows += part.num_rows
        noted = {
            table.name: str(version),
            NEWEST + table.name: str(newest),
            IDENTITY + table.name: identity_of(there.identity),
        }
        self.store.put((), noted)
        self._noted |= noted
        return rows

    def _entries(self, table: Table, rows: pa.Table) -> Iterator[Entry]:
        if table is FEATURE_TABLE:
            return entries.of_features(rows)
        if table is SCORES:
            return entries.of_scores(rows)
        if table is ALERTS:
            return entries.of_alerts(rows)
        return entries.of_members(rows, self._of_segments(rows))

    def _of_segments(self, members: pa.Table) -> dict[str, dict[str, Any]]:
        """What is said of the segments of users on the newest day among these members, by their ids."""
        if not self._segments.refresh():
            return {}
        day = pc.max(members["day"])
        among = (pc.field("unit") == "user") & (pc.field("day") == day)
        data = self._segments.delta.to_pyarrow_dataset(filesystem=self._segments.file_system)
        rows = data.to_table(columns=["day", "segment_id", "name", "description", "share"], filter=among)
        return {row["segment_id"]: row for row in rows.to_pylist()}

    def close(self) -> None:
        """Let another one feed the store."""
        self.store.close()
        claims.let_go(self.settings.online_path)

    def expire(self) -> None:
        """Remove what is older than the days that are kept."""
        self.store.expire({kind: oldest(self._noted, table, self.settings) for table, kind in EXPIRES.items()})


def feed_of(settings: Settings, *, anew: bool = False) -> Feed:
    """The one feed of the store that the settings name; ``anew`` forgets what was kept.

    Raises:
        ConfigurationError: they name none.
        BehaviorError: another process of this machine feeds it.
    """
    if settings.online.store == "sqlite":
        claims.claim(settings.online_path)
    store = store_of(settings)
    if store is None:
        raise ConfigurationError("online.store is none: there is no online view to fill. Set it to sqlite or redis.")
    if anew:
        store.clear()
    return Feed(store, settings)


def forget(settings: Settings, users: Collection[str]) -> None:
    """Remove all about these people, whose rows are gone from the tables; a feed that is at work passes those first.

    Raises:
        BehaviorError: a feed has not passed in time.
    """
    if settings.online.store == "sqlite" and not Path(settings.online_path).exists():
        return
    store = store_of(settings)
    if store is None:
        return
    is_ours = settings.online.store == "sqlite" and not claims.claimed(settings.online_path)
    try:
        if is_ours:
            with closing(feed_of(settings)) as feed:
                feed.poll()
        else:
            _wait_for_feed(store, settings)
        store.forget(users)
    finally:
        store.close()


def _wait_for_feed(store: Store, settings: Settings) -> None:
    tables = {table.name: OpenTable(TableLocation.under(settings.storage.root, table)) for table in FOLLOWED}
    versions = {name: there.version for name, there in tables.items() if there.refresh()}
    end = time.monotonic() + settings.maintenance.erase_wait_seconds
    while True:
        noted = store.noted()
        if all(int(noted.get(name, -1)) >= version for name, version in versions.items()):
            return
        if time.monotonic() >= end:
            raise BehaviorError(
                "The online view has not come to what was removed, so it may take it in yet. Let it "
                "(python -m jobs.fill_online --once, or run_pipeline), then call erase_user again with the same ids."
            )
        time.sleep(0.5)
