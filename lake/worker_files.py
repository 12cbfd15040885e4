"""Parquet files of Delta tables, written by Python workers with Arrow.

Arrow writes wide rows in a fraction of the time that Spark's own writer takes, and what Python has computed need not
go back to Java first (decision 085). A file belongs to a table only when :mod:`lake.transactions` has committed its
description; files of a task that failed are left to ``vacuum``.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from features.tables import Table
from lake.location import TableLocation
from lake.schemas import arrow_schema

GROUP_BYTES = 16_000_000
"""Of Arrow's memory that become a row group: some 8 MB of a file, as ``spark.session`` has it for Spark."""
FILE_BYTES = 256_000_000
MAX_TEXT = 32
"""Characters of a text that Delta keeps as a bound."""
MILLISECOND = timedelta(milliseconds=1)


class TableFiles:
    """Takes rows of one table, writes them to as few files as they fill, and describes these for the commit.

    A context: what was begun is closed at its end, and its file removed when that end is an error.
    """

    def __init__(self, location: TableLocation, table: Table) -> None:
        self.table = table
        self.schema = arrow_schema(table)
        self.files = location.file_system()
        self.described: list[str] = []
        self._waiting: list[pa.Table] = []
        self._bytes = 0
        self._open: _File | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.finish()
        elif self._open is not None:
            self._open.drop()

    def write(self, rows: pa.Table) -> None:
        """Take ``rows``: the table's columns in its order, of types that Arrow can cast to the table's.

        Raises:
            pyarrow.ArrowInvalid: a required column has a null.
        """
        if rows.num_rows:
            self._waiting.append(_as_declared(rows, self.schema))
            self._bytes += self._waiting[-1].nbytes
        if self._bytes >= GROUP_BYTES:
            self._write_group()

    def finish(self) -> list[str]:
        """Close what is open; Delta's ``add`` actions of all files, as JSON."""
        self._write_group()
        self._close()
        return self.described

    def _write_group(self) -> None:
        if not self._waiting:
            return
        rows = pa.concat_tables(self._waiting)
        self._waiting, self._bytes = [], 0
        if self._open is None:
            self._open = _File(self.files, self.table, self.schema)
        self._open.write(rows)
        if self._open.size >= FILE_BYTES:
            self._close()

    def _close(self) -> None:
        if self._open is not None:
            self.described.append(self._open.finish())
        self._open = None


Write = Callable[..., None]
"""Takes a task's batches, and a :class:`TableFiles` for each table."""
FILE_COLUMNS = "table STRING, file STRING"


def writer(
    locations: Sequence[tuple[Table, TableLocation]], write: Write
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """What a worker does: ``write`` puts rows into files; out come their descriptions (:data:`FILE_COLUMNS`)."""

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        with ExitStack() as stack:
            files = [stack.enter_context(TableFiles(location, table)) for table, location in locations]
            write(batches, *files)
            adds = [(one.table.name, add) for one in files for add in one.finish()]
        yield pa.RecordBatch.from_pydict({"table": [name for name, _ in adds], "file": [add for _, add in adds]})

    return work


class _File:
    def __init__(self, files: fs.FileSystem, table: Table, schema: pa.Schema) -> None:
        self.files, self.table, self.schema = files, table, schema
        self.name = f"part-{uuid.uuid4()}.snappy.parquet"
        self.bounds = {name: Bounds() for name in table.statistics}
        self.rows = 0
        self.sink = files.open_output_stream(self.name)
        self.writer = pq.ParquetWriter(self.sink, schema, compression="snappy", store_schema=False)

    @property
    def size(self) -> int:
        return int(self.sink.tell())

    def write(self, rows: pa.Table) -> None:
        for name, bounds in self.bounds.items():
            bounds.take(rows[name])
        self.rows += rows.num_rows
        self.writer.write_table(rows, row_group_size=rows.num_rows)

    def finish(self) -> str:
        self.writer.close()
        size = self.size
        self.sink.close()
        known = {name: bounds for name, bounds in self.bounds.items() if bounds.least is not None}
        statistics = {
            "numRecords": self.rows,
            "minValues": {name: lower(bounds.least) for name, bounds in known.items()},
            "maxValues": {name: upper(bounds.greatest) for name, bounds in known.items()},
            "nullCount": {name: bounds.nulls for name, bounds in self.bounds.items()},
        }
        add = {
            "path": self.name,
            "partitionValues": {},
            "size": size,
            "modificationTime": int(time.time() * 1000),
            "dataChange": True,
            "stats": json.dumps(statistics),
        }
        return json.dumps({"add": add})

    def drop(self) -> None:
        with suppress(Exception):
            self.writer.close()
        with suppress(OSError):
            self.sink.close()
            self.files.delete_file(self.name)


def _as_declared(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """``rows`` with the schema's types.

    Codes become texts: a dictionary would be written whole, with names that no row has, where no erasure finds them.
    """
    for declared in schema:
        if not declared.nullable and (nulls := rows[declared.name].null_count):
            raise pa.ArrowInvalid(f"Column {declared.name} is required, and {nulls} of its values are null")
    return rows.cast(schema)


@dataclass
class Bounds:
    """Least and greatest value of a column, and how many are null."""

    least: Any = None
    greatest: Any = None
    nulls: int = 0

    def take(self, values: pa.ChunkedArray) -> None:
        self.nulls += values.null_count
        extremes = pc.min_max(values).as_py()
        if extremes["min"] is not None:
            self.least = extremes["min"] if self.least is None else min(self.least, extremes["min"])
            self.greatest = extremes["max"] if self.greatest is None else max(self.greatest, extremes["max"])


def lower(value: Any) -> Any:
    """A bound for a file's statistics, no greater than ``value``."""
    if isinstance(value, datetime):
        return _instant(value)
    return value[:MAX_TEXT] if isinstance(value, str) else value


def upper(value: Any) -> Any:
    """A bound no less than ``value``: a time in whole milliseconds rounded up, a cut text with the last character."""
    if isinstance(value, datetime):
        return _instant(value if value.microsecond % 1000 == 0 else value + MILLISECOND)
    if isinstance(value, str) and len(value) > MAX_TEXT:
        return value[:MAX_TEXT] + "\U0010ffff"
    return value


def _instant(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03d}Z"
