"""Rows of some people from a Delta table, read by Python workers with Polars.

A look-back reads the tiles of thousands of people to keep those of a few. Polars looks the names of a file up first,
and unpacks the other columns only for the rows it found (decision 095).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import StructField, StructType

from features.tables import Table
from jobs.runtime.table_files import Place

TASK_BYTES = 8_000_000
"""What a task is worth: a large file, or many small ones."""


@dataclass(frozen=True)
class Wanted:
    """Rows of ``users`` from ``since`` to before ``until`` that another batch than ``not_batch`` wrote."""

    users: pa.Array
    since: datetime
    until: datetime
    not_batch: str


@dataclass(frozen=True)
class File:
    """A file of a table, by its path in it."""

    path: str
    bytes: int


def newest(place: Place, opened: DeltaTable | None) -> DeltaTable:
    """The table at ``place`` as it is now; ``opened`` is what it was the last time."""
    if opened is not None:
        try:
            opened.update_incremental()
        except (DeltaError, OSError):  # commits in between are gone from the log, which starts anew at a checkpoint
            return newest(place, None)
        return opened
    return DeltaTable(place.address, storage_options=place.options)


def is_plain(table: DeltaTable) -> bool:
    """Whether its files hold its rows as they are: nothing marked as deleted, no columns under other names."""
    return not table.protocol().reader_features


def files_of(table: DeltaTable, time: str, wanted: Wanted) -> list[File]:
    """What to read of the newest state of ``table``; files outside of the times are passed over."""
    found: list[File] = []
    for add in pa.table(table.get_add_actions(flatten=True)).to_pylist():
        first, last = add.get(f"min.{time}"), add.get(f"max.{time}")
        if first is not None and last is not None and (first >= wanted.until or last < wanted.since):
            continue
        found.append(File(add["path"], add["size_bytes"]))
    return found


def rows_of(
    spark: SparkSession, place: Place, files: Sequence[File], table: Table, columns: Sequence[str], wanted: Wanted
) -> DataFrame:
    """The ``wanted`` rows of ``files``, read by as many tasks as their bytes are worth and there are cores for."""
    worth = -(-sum(file.bytes for file in files) // TASK_BYTES)
    tasks = max(1, min(worth, len(files), spark.sparkContext.defaultParallelism))
    largest_first = sorted(files, key=lambda file: file.bytes, reverse=True)
    mixed = [file for task in range(tasks) for file in largest_first[task::tasks]]
    fields = [StructField(name, table.schema[name].dataType) for name in columns]
    read = reader(place, mixed, table.time, StructType(fields), wanted)
    return spark.range(0, len(mixed), 1, tasks).mapInArrow(read, StructType(fields))


def reader(
    place: Place, files: Sequence[File], time: str, declared: StructType, wanted: Wanted
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """What a worker does: numbers of ``files`` in, their rows out."""
    schema = to_arrow_schema(declared, timezone="UTC")

    def read(numbers: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        os.environ.setdefault("POLARS_MAX_THREADS", "1")  # a task has one core
        import polars as pl  # noqa: PLC0415 - 0.2 s, and threads, which a driver or a worker's parent shall not have

        asked = pl.col("user_id").is_in(pl.Series(wanted.users).implode()) & (pl.col("batch_id") != wanted.not_batch)
        for number in (number for batch in numbers for number in batch["id"].to_pylist()):
            file = pl.scan_parquet(
                f"{place.address}/{files[number].path}",
                glob=False,
                credential_provider=None,  # credentials are the environment's, as for deltalake
                storage_options=place.options,
            )
            rows = file.filter(asked).select(schema.names).collect().to_arrow().cast(schema)
            # Not asked of Polars: to it, times as Spark writes them by itself (INT96) are of another type.
            inside = pc.and_(pc.greater_equal(rows[time], wanted.since), pc.less(rows[time], wanted.until))
            yield from rows.filter(inside).to_batches()

    return read
