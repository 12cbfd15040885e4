"""Rows of some people from a Delta table, read by Python workers with Arrow.

A look-back reads the tiles of thousands of people to keep those of a few. Arrow reads names as codes, looks each name
up once per row group, and reads the other columns only where somebody was found (decision 095).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import StructField, StructType

from features.tables import Table
from jobs.runtime.table_files import Place

PART_BYTES = 8_000_000
"""What a task is worth: a row group of a large file, or many small files."""


@dataclass(frozen=True)
class Wanted:
    """Rows of ``users`` from ``since`` to before ``until`` that another batch than ``not_batch`` wrote."""

    users: pa.Array
    since: datetime
    until: datetime
    not_batch: str


@dataclass(frozen=True)
class Part:
    """Every ``of``-th row group of a file, from number ``first`` on; about so many bytes."""

    file: str
    first: int
    of: int
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


def parts_of(table: DeltaTable, time: str, wanted: Wanted) -> list[Part]:
    """What to read of the newest state of ``table``; files outside of the times are passed over."""
    found: list[Part] = []
    for add in pa.table(table.get_add_actions(flatten=True)).to_pylist():
        first, last = add.get(f"min.{time}"), add.get(f"max.{time}")
        if first is not None and last is not None and (first >= wanted.until or last < wanted.since):
            continue
        size = add["size_bytes"]
        count = -(-size // PART_BYTES)
        found += [Part(add["path"], number, count, size // count) for number in range(count)]
    return found


def rows_of(
    spark: SparkSession, place: Place, parts: Sequence[Part], table: Table, columns: Sequence[str], wanted: Wanted
) -> DataFrame:
    """The ``wanted`` rows of ``parts``, read by as many tasks as their bytes are worth and there are cores for."""
    worth = -(-sum(part.bytes for part in parts) // PART_BYTES)
    tasks = max(1, min(worth, len(parts), spark.sparkContext.defaultParallelism))
    mixed = [part for task in range(tasks) for part in parts[task::tasks]]
    fields = [StructField(name, table.schema[name].dataType) for name in columns]
    read = reader(place, mixed, table.time, StructType(fields), wanted)
    return spark.range(0, len(mixed), 1, tasks).mapInArrow(read, StructType(fields))


def reader(
    place: Place, parts: Sequence[Part], time: str, declared: StructType, wanted: Wanted
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """What a worker does: numbers of ``parts`` in, their rows out."""
    schema = to_arrow_schema(declared, timezone="UTC")
    texts = ["batch_id", *(field.name for field in schema if pa.types.is_string(field.type))]

    def read(numbers: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        files = place.file_system()
        for number in (number for batch in numbers for number in batch["id"].to_pylist()):
            part = parts[number]
            with files.open_input_file(part.file) as source:
                file = pq.ParquetFile(source, read_dictionary=texts)
                for group in range(part.first, file.num_row_groups, part.of):
                    yield from _rows_of_group(file, group, time, schema, wanted).to_batches()

    return read


def _rows_of_group(file: pq.ParquetFile, group: int, time: str, schema: pa.Schema, wanted: Wanted) -> pa.Table:
    names = file.read_row_group(group, ["user_id"], use_threads=False)["user_id"]
    places = np.flatnonzero(np.concatenate([_is_one_of(chunk, wanted.users) for chunk in names.chunks]))
    if not len(places):
        return schema.empty_table()
    others = ["batch_id", *(name for name in schema.names if name != "user_id")]
    rows = file.read_row_group(group, others, use_threads=False).take(places)
    rows = rows.append_column("user_id", names.take(places))
    rows = rows.filter(pc.not_equal(rows["batch_id"].cast(pa.string()), wanted.not_batch)).select(schema.names)
    rows = rows.cast(schema)
    return rows.filter(pc.and_(pc.greater_equal(rows[time], wanted.since), pc.less(rows[time], wanted.until)))


def _is_one_of(names: pa.DictionaryArray, users: pa.Array) -> npt.NDArray[np.bool_]:
    known = pc.is_in(names.dictionary, users).to_numpy(zero_copy_only=False)
    return np.asarray(known[names.indices.to_numpy()], np.bool_)
