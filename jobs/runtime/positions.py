"""How far each streaming query has come: what batch jobs must know to work beside the streams.

A query's checkpoint is the only place that knows which micro-batches are settled. A batch in ``commits`` never runs
again; the one after it may be under way, or may run again after a crash under the same number.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import dropwhile
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from features.errors import BehaviorError
from features.tables import Table
from jobs.runtime import commit_notes, files
from jobs.runtime.lake import Lake
from jobs.runtime.settings import Settings
from jobs.runtime.streams import checkpoint

NONE = -1
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Position:
    """Where a query is.

    Attributes:
        query: its name.
        query_id: first part of the ids of its batches.
        started: newest planned batch; ``committed``: newest finished one.
        batch: newest finished batch that ends where a Delta version of its source ends.
        version: after ``batch``, all rows of its source's Delta versions below this one are read.
        time: when ``batch`` was planned.
    """

    query: str
    query_id: str
    started: int
    committed: int
    batch: int = NONE
    version: int = NONE
    time: datetime = BEGINNING

    def settled(self, batch_id: Column, until: int | None = None) -> Column:
        """Whether a row's batch is not of this query, or is finished (up to batch ``until``)."""
        own = F.startswith(batch_id, F.lit(f"{self.query_id}:"))
        number = F.substring_index(batch_id, ":", -1).try_cast("bigint")
        return ~own | (number <= (self.committed if until is None else until))


def position(spark: SparkSession, settings: Settings, query: str) -> Position | None:
    """Where ``query`` is; None when it has never started."""
    folder = checkpoint(settings, query)
    metadata = files.text_of(spark, f"{folder}/metadata")
    if metadata is None:
        return None
    planned, done = files.numbered(spark, f"{folder}/offsets"), files.numbered(spark, f"{folder}/commits")
    known = Position(query, json.loads(metadata)["id"], max(planned, default=NONE), max(done, default=NONE))
    for number in sorted(set(planned) & set(done), reverse=True):
        lines = (files.text_of(spark, f"{folder}/offsets/{number}") or "").splitlines()
        offset = _delta_offset(lines)
        if offset is None:
            break
        if offset["index"] < 0 and not offset["isStartingVersion"]:
            return Position(
                query,
                known.query_id,
                known.started,
                known.committed,
                number,
                int(offset["reservoirVersion"]),
                files.planned_at(spark, folder, number),
            )
    return known


def finished_rows(spark: SparkSession, settings: Settings, query: str) -> Callable[[DataFrame], DataFrame]:
    """Leaves out rows of a micro-batch of ``query`` that is under way now.

    Run again after a kill, a batch looks for its own rows to know what it has written: whoever moves them, blinds it.
    """
    where = position(spark, settings, query)
    return lambda rows: rows if where is None else rows.where(where.settled(F.col("ingest_id")))


def reached(spark: SparkSession, settings: Settings, query: str) -> Position:
    """Where ``query`` is.

    Raises:
        BehaviorError: it has not finished a micro-batch, so there is nothing to compare with or to add to.
    """
    found = position(spark, settings, query)
    if found is None or found.batch == NONE:
        raise BehaviorError(
            f"Query {query} has not read a whole version of its source yet (checkpoint {checkpoint(settings, query)}). "
            f"Let it catch up first: python -m jobs.{query} --once."
        )
    return found


def _delta_offset(lines: list[str]) -> dict[str, Any] | None:
    """The Delta source's offset in a batch's offset file: version line, metadata, then one line per source."""
    for line in lines[2:]:
        offset = json.loads(line) if line.startswith("{") else None
        if isinstance(offset, dict) and "reservoirVersion" in offset:
            return offset
    return None


@dataclass(frozen=True)
class Append:
    """A commit that brought new rows: its Delta version, when, and the id of the batch that wrote it."""

    version: int
    time: datetime
    batch: str | None


def appends_since(lake: Lake, table: Table, version: int) -> list[Append]:
    """Commits of ``table`` from ``version`` on that brought new rows; rewrites and removals are none."""
    log = f"{lake.path(table)}/_delta_log"
    found = []
    commits = sorted(
        (file for file in files.listing(lake.spark, log) if file.name.endswith(".json")), key=lambda file: file.name
    )
    for commit in dropwhile(lambda file: _version(file.name) < version, commits):
        actions = [json.loads(line) for line in (files.text_of(lake.spark, f"{log}/{commit.name}") or "").splitlines()]
        adds = any(action["add"]["dataChange"] for action in actions if "add" in action)
        removes = any(action["remove"]["dataChange"] for action in actions if "remove" in action)
        if adds and not removes:
            note = next((a["commitInfo"].get("userMetadata") for a in actions if "commitInfo" in a), None)
            batch = None if note is None else commit_notes.read(note).batch_id
            found.append(Append(_version(commit.name), commit.modified, batch))
    return found


def _version(name: str) -> int:
    """The version of a commit file ``00000000000000000012.json``; -1 for any other JSON file of the log."""
    number = name.removesuffix(".json")
    return int(number) if number.isdigit() else NONE
