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
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random

from features.columns import beside
from features.errors import BehaviorError
from features.tables import Table
from lake import hadoop_files, locks, transactions
from lake.location import address_of, is_local
from lake.spark_tables import Lake
from lake.transactions import Change
from settings import MaintenanceSettings, Settings

CONFLICTS = (
    ConcurrentAppendException,
    ConcurrentWriteException,
    ConcurrentDeleteDeleteException,
    ConcurrentDeleteReadException,
    DeltaConcurrentModificationException,
)
"""Another commit came first. Delta has then written nothing; work that reads anew at each attempt may try again."""
LOCK = "rewriting.lock"

Result = TypeVar("Result")


@contextmanager
def alone(spark: SparkSession, settings: Settings, job: str) -> Iterator[None]:
    """Keep other jobs that rewrite or recompute away: a person erased meanwhile would come back with what they hold.

    Streams need no lock. In a folder and on S3 the lock of a killed job ends by itself (:mod:`lake.locks`);
    elsewhere it is a file that somebody has to remove.

    Raises:
        BehaviorError: another one runs.
    """
    who = f"{job} on {socket.gethostname()}, process {os.getpid()}, since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
    place = address_of(settings.storage.checkpoints.rstrip("/"))
    if is_local(place):
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
    if not hadoop_files.create(spark, path, who):
        other = hadoop_files.text_of(spark, path) or "another job"
        raise BehaviorError(f"{other}, is at work on the tables. Wait for it; if it no longer runs, remove {path}.")
    try:
        yield lambda: None
    finally:
        hadoop_files.remove(spark, path)


_checks: list[locks.Check] = []


def still_alone() -> None:
    """See, right before a commit, that the lock under which it is made has not been lost.

    Raises:
        BehaviorError: it has.
    """
    for check in _checks:
        check()


def patiently(work: Callable[[], Result], retries: int) -> Result:
    """Run ``work`` again while Delta refuses its commit because of another's; the last refusal is raised."""
    attempts = Retrying(
        retry=retry_if_exception_type(CONFLICTS),
        stop=stop_after_attempt(retries + 1),
        wait=wait_random(0, 2),
        reraise=True,
    )

    def guarded() -> Result:
        still_alone()
        return work()

    return attempts(guarded)


def replace(lake: Lake, table: Table, made: Change, condition: str, chosen: MaintenanceSettings) -> int:
    """Put the rows that are ``made`` of those that meet ``condition`` in their place; returns how many fewer.

    One commit: a reader sees all of it or nothing. ``condition`` must hold for no row that others may append
    meanwhile, since such a row would not be among those that are read.
    """
    matches = F.coalesce(F.expr(condition), F.lit(False))

    return _rewrite(lake, table, lambda rows: rows.where(matches), lambda rows: rows.where(~matches), made, chosen)


def replace_keys(
    lake: Lake,
    table: Table,
    keys: DataFrame,
    made: Change,
    chosen: MaintenanceSettings,
    *,
    where: Column | None = None,
    inserts: bool = False,
) -> int:
    """Put the rows that are ``made`` of those whose key columns are in ``keys`` in their place; returns how many fewer.

    One commit. The columns of ``keys`` are the key, and each stands there once. The log keeps no key: the text of a
    DELETE's condition it would keep, and with it the value that is to be forgotten.

    Args:
        where: of the rows with such a key only those that meet it.
        inserts: whether ``made`` makes rows of keys, too, that the table does not have.
    """
    matches, names = F.lit(True) if where is None else F.coalesce(where, F.lit(False)), keys.columns

    def affected(rows: DataFrame) -> DataFrame:
        return beside(rows.where(matches), keys, names, "left_semi")

    def others(rows: DataFrame) -> DataFrame:
        return beside(rows.where(matches), keys, names, "left_anti").unionByName(rows.where(~matches))

    return _rewrite(lake, table, affected, others, made, chosen, inserts=inserts)


def delete_keys(lake: Lake, table: Table, keys: DataFrame, chosen: MaintenanceSettings) -> int:
    """Delete the rows whose key columns are in ``keys`` (its columns are the key); returns how many."""
    return replace_keys(lake, table, keys.distinct(), lambda rows: rows.limit(0), chosen)


def _rewrite(
    lake: Lake,
    table: Table,
    affected: Change,
    others: Change,
    made: Change,
    chosen: MaintenanceSettings,
    *,
    inserts: bool = False,
) -> int:
    """Put what is ``made`` of the ``affected`` rows in their place; the ``others`` stay."""

    def anew(rows: DataFrame) -> DataFrame:
        return made(affected(rows)).unionByName(others(rows))

    def work() -> int:
        if transactions.is_open_delta(lake.spark):
            return transactions.rewrite(
                lake.spark,
                lake.path(table),
                affected,
                anew,
                inserts=inserts,
                right_before=still_alone,
                retries=chosen.conflict_retries,
            )
        # Databricks: by its own public means, at the price of the whole table, and of waiting for a quiet moment.
        rows = lake.read(table)
        before = rows.count()
        anew(rows).select(rows.columns).write.format("delta").mode("overwrite").save(lake.path(table))
        return before - lake.read(table).count()

    return patiently(work, chosen.conflict_retries)
