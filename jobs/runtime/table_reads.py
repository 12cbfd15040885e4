"""Rows of some people from a Delta table, read by Python workers with Polars.

A look-back reads the tiles of thousands of people to keep those of a few. Polars looks the names of a file up first,
and unpacks the other columns only for the rows it found (decision 095).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import StructField, StructType

from features.tables import Table
from jobs.runtime.table_files import Place

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TASK_BYTES = 8_000_000
"""What a task is worth: a large file, or many small ones."""


@dataclass(frozen=True)
class Wanted:
    """Rows of some people, each from spans of time of his own, that another batch than ``not_batch`` wrote.

    Attributes:
        spans: columns ``user_id``, ``since`` and ``until`` (microseconds since 1970, the latter not included). Spans of
            one user do not overlap.
    """

    spans: pa.Table
    not_batch: str

    def windows(self, most: int | None = None) -> list[tuple[int, int]]:
        """Times in which anybody has a span, in order; the nearest ones joined where there are over ``most``."""
        pairs = self.spans.select(["since", "until"]).group_by(["since", "until"]).aggregate([]).sort_by("since")
        joined: list[tuple[int, int]] = []
        for since, until in zip(pairs["since"].to_pylist(), pairs["until"].to_pylist(), strict=True):
            if joined and since <= joined[-1][1]:
                joined[-1] = (joined[-1][0], max(until, joined[-1][1]))
            else:
                joined.append((since, until))
        if most is None or len(joined) <= most:
            return joined
        gaps = np.array([after[0] - before[1] for before, after in pairwise(joined)])
        starts = [0, *sorted((np.argsort(gaps, kind="stable")[::-1][: most - 1] + 1).tolist()), len(joined)]
        return [(joined[first][0], joined[last - 1][1]) for first, last in pairwise(starts)]


@dataclass(frozen=True)
class File:
    """A file of a table, by its path in it, and its first and last time in microseconds (None: it does not say)."""

    path: str
    bytes: int
    first: int | None
    last: int | None


def newest(place: Place, opened: DeltaTable | None) -> DeltaTable:
    """The table at ``place`` as it is now; ``opened`` is what it was the last time."""
    if opened is not None:
        try:
            opened.update_incremental()
        except (DeltaError, OSError):  # commits in between are gone from the log, which starts anew at a checkpoint
            return newest(place, None)
        return opened
    return DeltaTable(place.address, storage_options=place.options)


def greatest(table: DeltaTable, column: str) -> datetime | None:
    """The greatest ``column`` by the statistics of the table's files; None where a file has none of it."""
    actions = pa.table(table.get_add_actions(flatten=True))
    name = f"max.{column}"
    if name not in actions.column_names or actions[name].null_count:
        return None
    found = pc.max(actions[name]).as_py()
    return found if isinstance(found, datetime) else None


def is_plain(table: DeltaTable) -> bool:
    """Whether its files hold its rows as they are: nothing marked as deleted, no columns under other names."""
    return not table.protocol().reader_features


def files_of(table: DeltaTable, time: str, wanted: Wanted) -> list[File]:
    """What to read of the newest state of ``table``; files without anybody's times are passed over."""
    found: list[File] = []
    windows = np.array(wanted.windows(), np.int64).reshape(-1, 2)
    for add in pa.table(table.get_add_actions(flatten=True)).to_pylist():
        first, last = (None if (at := add.get(f"{name}.{time}")) is None else _micros(at) for name in ("min", "max"))
        if first is not None and last is not None and not ((windows[:, 0] <= last) & (first < windows[:, 1])).any():
            continue
        found.append(File(add["path"], add["size_bytes"], first, last))
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

        spans = pl.DataFrame(wanted.spans)
        for at in (files[number] for batch in numbers for number in batch["id"].to_pylist()):
            # Only those whose times the file may have: somebody's event of years ago opens old files for nobody else.
            near = (
                spans
                if at.first is None or at.last is None
                else spans.filter((pl.col("since") <= at.last) & (pl.col("until") > at.first))
            )
            asked = pl.col("user_id").is_in(near["user_id"].implode()) & (pl.col("batch_id") != wanted.not_batch)
            file = pl.scan_parquet(
                f"{place.address}/{at.path}",
                glob=False,
                credential_provider=None,  # credentials are the environment's, as for deltalake
                storage_options=place.options,
            )
            rows = file.filter(asked).select(schema.names).collect().to_arrow().cast(schema)
            # Not asked of the file: to Polars, times as Spark writes them by itself (INT96) are of another type.
            found = pl.DataFrame(
                {"user_id": pl.Series(rows["user_id"]), "at": rows[time].cast(pa.int64()).to_numpy()}
            ).with_row_index("row")
            inside = found.join(near, on="user_id").filter(
                pl.col("at") >= pl.col("since"), pl.col("at") < pl.col("until")
            )
            yield from rows.take(inside["row"].sort().to_numpy()).to_batches()

    return read


def _micros(time: datetime) -> int:
    return (time - EPOCH) // timedelta(microseconds=1)
