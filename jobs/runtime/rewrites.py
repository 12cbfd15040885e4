"""Rewriting rows of a Delta table beside streams that append to it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from delta.exceptions import (
    ConcurrentAppendException,
    ConcurrentDeleteDeleteException,
    ConcurrentDeleteReadException,
    ConcurrentWriteException,
    DeltaConcurrentModificationException,
)
from delta.tables import DeltaTable
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random

from features.errors import BehaviorError
from features.tables import Table
from jobs.runtime import arrow_lake, files, locks
from jobs.runtime.lake import Lake
from jobs.runtime.settings import MaintenanceSettings, Settings

APPENDED = (ConcurrentAppendException, ConcurrentWriteException)
"""An append came between reading and committing. Delta has then written nothing, and it may be tried again."""
CONFLICTS = (
    *APPENDED,
    ConcurrentDeleteDeleteException,
    ConcurrentDeleteReadException,
    DeltaConcurrentModificationException,
)
"""Any other commit came first. Only work that reads anew at each attempt may be tried again."""
LOCK = "rewriting.lock"

Result = TypeVar("Result")


@contextmanager
def alone(spark: SparkSession, settings: Settings, job: str) -> Iterator[None]:
    """Keep other jobs that rewrite or recompute away: a person erased meanwhile would come back with what they hold.

    Streams need no lock. In a folder and on S3 the lock of a killed job ends by itself (:mod:`jobs.runtime.locks`);
    elsewhere it is a file that somebody has to remove.

    Raises:
        BehaviorError: another one runs.
    """
    who = f"{job} on {socket.gethostname()}, process {os.getpid()}, since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
    place = arrow_lake.address_of(settings.storage.checkpoints.rstrip("/"))
    if "://" not in place:
        held = locks.in_folder(Path(place, LOCK), who)
    elif place.startswith("s3://"):
        held = locks.leased(f"{place}/{LOCK}", who)
    else:
        held = _by_file(spark, f"{place}/{LOCK}", who)
    with held as check:
        _checks.append(check)
        try:
            yield
        finally:
            _checks.remove(check)


@contextmanager
def _by_file(spark: SparkSession, path: str, who: str) -> Iterator[locks.Check]:
    if not files.create(spark, path, who):
        other = files.text_of(spark, path) or "another job"
        raise BehaviorError(f"{other}, is at work on the tables. Wait for it; if it no longer runs, remove {path}.")
    try:
        yield lambda: None
    finally:
        files.remove(spark, path)


_checks: list[locks.Check] = []


def still_alone() -> None:
    """See, right before a commit, that the lock under which it is made has not been lost.

    Raises:
        BehaviorError: it has.
    """
    for check in _checks:
        check()


def patiently(work: Callable[[], Result], retries: int, conflicts: tuple[type[Exception], ...] = CONFLICTS) -> Result:
    """Run ``work`` again while Delta refuses its commit because of another's; the last refusal is raised."""
    attempts = Retrying(
        retry=retry_if_exception_type(conflicts),
        stop=stop_after_attempt(retries + 1),
        wait=wait_random(0, 2),
        reraise=True,
    )

    def guarded() -> Result:
        still_alone()
        return work()

    return attempts(guarded)


def replace(
    lake: Lake, table: Table, rows_of: Callable[[], DataFrame], condition: str, chosen: MaintenanceSettings
) -> int:
    """Put the rows that ``rows_of`` makes in the place of those that meet ``condition``; returns how many fewer.

    One commit: a reader sees all of it or nothing. ``condition`` must hold for no row that others may append
    meanwhile, since such a row would be removed unread. The rows are made first and kept, so that the time in which
    an append refuses the commit is short.
    """
    rows = rows_of().persist(StorageLevel.MEMORY_AND_DISK)
    try:
        kept = rows.count()
        before = lake.read(table).where(condition).count()

        def write() -> None:
            (
                rows.write.format("delta")
                .mode("overwrite")
                .option("replaceWhere", condition)
                .save(lake.path(table))
            )  # fmt: skip

        name = "spark.databricks.delta.replaceWhere.constraintCheck.enabled"
        lake.spark.conf.set(name, "false")  # added-up rows do not meet the condition of partial ones
        try:
            patiently(write, chosen.conflict_retries, APPENDED)
        finally:
            lake.spark.conf.unset(name)
    finally:
        rows.unpersist()
    return before - kept


def delete_matching(lake: Lake, table: Table, doomed: DataFrame, chosen: MaintenanceSettings) -> None:
    """Delete the rows whose key columns are in ``doomed`` (its columns are the key); retried beside appends.

    A merge, since Delta's log keeps the text of a DELETE's condition, and with it the value that is to be forgotten.
    """
    same = " AND ".join(f"t.`{name}` = doomed.`{name}`" for name in doomed.columns)
    target = DeltaTable.forPath(lake.spark, lake.path(table)).alias("t")
    work = target.merge(doomed.distinct().alias("doomed"), same).whenMatchedDelete()
    patiently(work.execute, chosen.conflict_retries)
