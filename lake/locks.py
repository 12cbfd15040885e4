"""One holder at a time, whoever dies: in a folder a lock of the system, on S3 a lease that its holder renews.

A lease is a Delta table without rows. Each commit to it carries the number that follows the one before, and S3 refuses
the second of two (a put with If-None-Match, as for every commit). Nobody compares clocks: who finds it held waits until
it has been renewed, or for as long as a lease lasts by his own watch, and then takes the next number.
"""

from __future__ import annotations

import fcntl
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
from deltalake import CommitProperties, Transaction, write_deltalake
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import CommitFailedError

from features.errors import BehaviorError, EnvironmentProblem
from lake.location import TableLocation
from lake.snapshot import OpenTable, environment_problem

SECONDS = 60.0
"""How long a lease lasts that is not renewed; a quarter of it passes between two renewals."""
HOLDER, FREE = "holder", ""

log = logging.getLogger(__name__)

Check = Callable[[], None]
"""Raises a :class:`BehaviorError` when the lock was lost."""


@contextmanager
def in_folder(path: Path, who: str) -> Iterator[Check]:
    """Hold the lock ``path``; it is free when this process ends, however it ends.

    Raises:
        BehaviorError: another process has it, with what that says of itself.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = ""
            for _ in range(20):  # he has it first, and says his name then
                file.seek(0)
                if holder := file.read():
                    break
                time.sleep(0.05)
            raise busy(holder) from None
        file.truncate(0)
        file.write(who)
        file.flush()
        try:
            yield lambda: None
        finally:
            file.truncate(0)


@contextmanager
def leased(address: str, who: str, seconds: float = SECONDS) -> Iterator[Check]:
    """Hold the lease at ``address`` (as deltalake writes it), renewed in the background.

    Raises:
        BehaviorError: another process has it and is alive.
        EnvironmentProblem: the storage cannot be reached.
    """
    lease = Lease(address, who, seconds)
    lease.take()
    ended = threading.Event()
    renewing = threading.Thread(target=lease.keep, args=(ended,), name="lease", daemon=True)
    renewing.start()
    try:
        yield lease.check
    finally:
        ended.set()
        renewing.join()
        lease.release()


def busy(holder: str) -> BehaviorError:
    return BehaviorError(f"{holder or 'Another job'}, is at work on the tables. Wait for it, or stop it.")


class Lease:
    """See the module's text. ``token`` is the number by which it is held; it only grows."""

    def __init__(self, address: str, who: str, seconds: float = SECONDS) -> None:
        self.address, self.who, self.seconds = address, who, seconds
        self.token = 0
        self._until = 0.0

    def take(self) -> None:
        """Take the lease when it is free, or its holder has not renewed it for as long as it lasts."""
        number, holder = self._read()
        if holder != FREE:
            log.info("%s has the lock: waiting for up to %g s to see whether it is alive", holder, self.seconds)
            end = time.monotonic() + self.seconds
            while (now := self._read()) == (number, holder) and time.monotonic() < end:
                time.sleep(self.seconds / 60)
            if now[0] != number and now[1] != FREE:
                raise busy(now[1])
            number = now[0]
        if not self._put(number, self.who):
            raise busy(self._read()[1])

    def keep(self, ended: threading.Event) -> None:
        """Renew the lease until ``ended``, or until it is lost."""
        while not ended.wait(self.seconds / 4):
            try:
                if not self._put(self.token, self.who):
                    self._until = 0.0
                    return
            except EnvironmentProblem as error:
                log.warning("%s The lock is renewed later.", error)

    def check(self) -> None:
        """See that the lease is still held: for what is about to be committed under it.

        Raises:
            BehaviorError: it could not be renewed in time, or another process has taken it.
        """
        if time.monotonic() >= self._until:
            raise BehaviorError(
                f"The lock {self.address} was lost: it could not be renewed for {self.seconds:g} s, or another job "
                "took it. What is written so far is whole; run the job again."
            )

    def release(self) -> None:
        """Free the lease, if it is still held."""
        try:
            if time.monotonic() < self._until:
                self._put(self.token, FREE)
        except EnvironmentProblem as error:
            log.warning("%s The lock ends by itself in %g s.", error, self.seconds)

    # --- the table ---

    def _table(self) -> OpenTable:
        short = {"delta.logRetentionDuration": "interval 1 day", "delta.checkpointInterval": "50"}
        there = OpenTable(TableLocation(self.address))
        there.open_or_create(DeltaSchema.from_arrow(NOTHING.schema), "locks of jobs", short)
        return there

    def _read(self) -> tuple[int, str]:
        """The newest number (0: none yet) and who has the lease by it."""
        with environment_problem(f"The lock {self.address} cannot be read"):
            table = self._table()
            number = table.transaction_version(HOLDER)
            return (0, FREE) if number is None else (number, str(table.delta.history(1)[0].get(HOLDER, FREE)))

    def _put(self, before: int, who: str) -> bool:
        """Write the number after ``before``; False when another process did."""
        began = time.monotonic()
        note = CommitProperties({HOLDER: who}, max_commit_retries=0, app_transactions=[Transaction(HOLDER, before + 1)])
        with environment_problem(f"The lock {self.address} cannot be written"):
            table = self._table()
            if (table.transaction_version(HOLDER) or 0) != before:
                return False
            try:
                write_deltalake(table.delta, NOTHING, mode="append", commit_properties=note)
            except CommitFailedError:
                return self._read() == (
                    before + 1,
                    who,
                )  # asked again after an answer was lost, it is refused by itself
        self.token, self._until = before + 1, began + self.seconds
        return True


NOTHING = pa.table({"nothing": pa.array([], pa.int64())})
