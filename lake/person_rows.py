"""Rows of some people from a Delta table, read by Python workers with Polars.

A look-back reads the tiles of thousands of people to keep those of a few. Polars looks the names of a file up first,
and unpacks the other columns only for the rows it found (decision 095).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import StructField, StructType

from features.tables import Table
from lake.location import TableLocation
from lake.snapshot import DataFile

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TASK_BYTES = 8_000_000
"""What a task is worth: a large file, or many small ones."""


@dataclass(frozen=True)
class Selection:
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


def greatest(files: Iterable[DataFile], column: str) -> datetime | None:
    """The greatest ``column`` by the statistics of the files; None where a file has none of it."""
    times = [file.most.get(column) for file in files]
    return None if None in times else max((time for time in times if time is not None), default=None)


def files_of(files: Iterable[DataFile], time: str, selection: Selection) -> list[DataFile]:
    """Those of the files that may have rows in the ``selection``."""
    matching: list[DataFile] = []
    windows = np.array(selection.windows(), np.int64).reshape(-1, 2)
    for file in files:
        first, last = _span(file, time)
        if first is not None and last is not None and not ((windows[:, 0] <= last) & (first < windows[:, 1])).any():
            continue
        matching.append(file)
    return matching


def rows_of(
    spark: SparkSession,
    location: TableLocation,
    files: Sequence[DataFile],
    table: Table,
    columns: Sequence[str],
    selection: Selection,
) -> DataFrame:
    """The selected rows of ``files``, read by as many tasks as their bytes are worth and there are cores for."""
    worth = -(-sum(file.bytes for file in files) // TASK_BYTES)
    tasks = max(1, min(worth, len(files), spark.sparkContext.defaultParallelism))
    largest_first = sorted(files, key=lambda file: file.bytes, reverse=True)
    mixed = [file for task in range(tasks) for file in largest_first[task::tasks]]
    fields = [StructField(name, table.schema[name].dataType) for name in columns]
    read = reader(location, mixed, table.time, StructType(fields), selection)
    return spark.range(0, len(mixed), 1, tasks).mapInArrow(read, StructType(fields))


def reader(
    location: TableLocation, files: Sequence[DataFile], time: str, declared: StructType, selection: Selection
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """What a worker does: numbers of ``files`` in, their rows out."""
    schema = to_arrow_schema(declared, timezone="UTC")
    spans_of_files = [(file.path, *_span(file, time)) for file in files]

    def read(numbers: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        os.environ.setdefault("POLARS_MAX_THREADS", "1")  # a task has one core
        import polars as pl  # noqa: PLC0415 - 0.2 s, and threads, which a driver or a worker's parent shall not have

        spans = pl.DataFrame(selection.spans)
        for path, first, last in (spans_of_files[number] for batch in numbers for number in batch["id"].to_pylist()):
            # Only those whose times the file may have: somebody's event of years ago opens old files for nobody else.
            near = (
                spans
                if first is None or last is None
                else spans.filter((pl.col("since") <= last) & (pl.col("until") > first))
            )
            condition = pl.col("user_id").is_in(near["user_id"].implode()) & (pl.col("batch_id") != selection.not_batch)
            file = pl.scan_parquet(
                f"{location.address}/{path}",
                glob=False,
                credential_provider=None,  # credentials are the environment's, as for deltalake
                storage_options=location.options,
            )
            rows = file.filter(condition).select(schema.names).collect().to_arrow().cast(schema)
            # Not asked of the file: to Polars, times as Spark writes them by itself (INT96) are of another type.
            keys = pl.DataFrame(
                {"user_id": pl.Series(rows["user_id"]), "at": rows[time].cast(pa.int64()).to_numpy()}
            ).with_row_index("row")
            inside = keys.join(near, on="user_id").filter(
                pl.col("at") >= pl.col("since"), pl.col("at") < pl.col("until")
            )
            yield from rows.take(inside["row"].sort().to_numpy()).to_batches()

    return read


def _span(file: DataFile, time: str) -> tuple[int | None, int | None]:
    """The first and last ``time`` in the file in microseconds; None where it does not say."""
    first, last = file.least.get(time), file.most.get(time)
    return None if first is None else _micros(first), None if last is None else _micros(last)


def _micros(time: datetime) -> int:
    return (time - EPOCH) // timedelta(microseconds=1)
