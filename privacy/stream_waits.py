"""Wait for streams, so that none brings back what was removed or lacks a file that it still needs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from features.errors import BehaviorError
from features.tables import SCORES
from lake import notes
from lake.spark_tables import Lake
from settings import Settings
from streams import claims, queries
from streams.flow import ALERTING, INGEST, Stream, noted
from streams.progress import Position, position, unread

POLL_SECONDS = 1.0


@dataclass(frozen=True)
class StreamWaits:
    """What an erasure waits for: each method returns when it is so.

    Attributes:
        finish: lets a query that nobody runs do what there is to do.

    Raises:
        BehaviorError: by each method, where it is not so in time.
    """

    lake: Lake
    settings: Settings
    finish: Callable[[Stream], None]

    def batch_ends(self, stream: Stream) -> None:
        """The batch of ``stream`` which runs now, if any, has finished."""
        now = self._position(stream)
        planned = now.started if now else -1

        def is_behind() -> bool:
            where = self._position(stream)
            return where is not None and where.committed < planned

        self._wait(stream, is_behind, "finish its batch")

    def has_read(self, stream: Stream) -> None:
        """``stream`` has read all that was appended to its table until now."""
        table = stream.reads
        if table is None or not self.lake.exists(table):
            return
        until = self.lake.version(table)

        def is_behind() -> bool:
            where = self._position(stream)
            if where is None:
                return False
            due = [append for append in unread(self.lake, table, where) if append.version <= until]
            return bool(due) or where.version < 0

        self._wait(stream, is_behind, f"read what is in {table.name}")

    def alerts_have_read(self) -> None:
        """``raise_alerts``, if it runs, knows scores as they are now: it forgets whom they lack.

        One that is stopped remembers nobody: it starts from what the tables hold.
        """
        folder = queries.checkpoint(self.settings, ALERTING.query)
        until = self.lake.version(SCORES) if self.lake.exists(SCORES) else -1

        def is_behind() -> bool:
            note = notes.read(folder, ALERTING.note)
            return note is not None and int(note["version"]) < until and claims.claimed(folder)

        self._wait(ALERTING, is_behind, "take in that scores were removed")

    def _position(self, stream: Stream) -> Position | None:
        return position(self.lake.spark, self.settings, stream.query)

    def _wait(self, stream: Stream, is_behind: Callable[[], bool], what: str) -> None:
        if is_behind():
            self._do_what_is_due(stream)
        query, patience = stream.query, self.settings.maintenance.erase_wait_seconds
        end = time.monotonic() + patience
        while is_behind():
            if time.monotonic() >= end:
                raise BehaviorError(
                    f"Query {query} did not {what} within {patience} s, so files it still needs cannot be deleted yet. "
                    f"Let it run (python -m jobs.{query} --once), then call erase_user again with the same ids."
                )
            time.sleep(POLL_SECONDS)

    def _do_what_is_due(self, stream: Stream) -> None:
        """Let ``stream`` read what is there, here, where no process of this machine runs it: waiting would be in vain.

        Of a fenced query it cannot be told whether another machine runs it: that one is waited for.

        Raises:
            BehaviorError: ingest_events was stopped within a batch, and only Kafka has the rest.
        """
        query = stream.query
        if stream is ALERTING or self.settings.stream.fenced:
            return
        runs = stream if noted(self.settings) is None else INGEST  # the one pass holds the checkpoint of ingest
        if claims.claimed(queries.checkpoint(self.settings, runs.query)):
            return
        if stream is INGEST:
            raise BehaviorError(
                f"{query} was stopped within a batch, and nobody runs it. Let it finish, with its broker at work "
                f"(python -m jobs.{query} --once, or make run), then call erase_user again with the same ids."
            )
        self.finish(stream)
