"""A Delta table opened without Spark, and kept up to date: its version, its columns, its files with their bounds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import DeltaTable
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from pyarrow import fs

from features.errors import EnvironmentProblem
from lake.location import TableLocation, is_local

STATISTICS_GRAIN = timedelta(milliseconds=1)
"""Spark cuts times in statistics to milliseconds."""
GROWING_ATTEMPTS = 20
"""How often columns are added beside other writers, whose commits may come first."""
PARQUET = ds.ParquetFileFormat(read_options=ds.ParquetReadOptions(coerce_int96_timestamp_unit="us"))
"""How data files are read: with times in microseconds, also where Spark writes them in its own way (INT96)."""


@dataclass(frozen=True)
class DataFile:
    """One file of a table by its path in it, and for each time column with statistics its least and greatest value."""

    path: str
    bytes: int
    rows: int
    least: Mapping[str, datetime | None]
    most: Mapping[str, datetime | None]

    def may_hold(self, column: str, since: datetime | None, until: datetime | None) -> bool:
        """Whether a row with ``since <= column < until`` can be in the file."""
        least, most = self.least.get(column), self.most.get(column)
        too_old = since is not None and most is not None and most + STATISTICS_GRAIN < since
        too_new = until is not None and least is not None and least >= until
        return not (too_old or too_new)


class OpenTable:
    """The table at ``location`` as of the last :meth:`refresh`; the properties are for when that said True.

    Errors of deltalake and of the storage come as they are: :func:`environment_problem` makes sentences of them.
    """

    def __init__(self, location: TableLocation) -> None:
        self.location = location
        self._delta: DeltaTable | None = None
        self._files: dict[str, DataFile] = {}
        self._files_version: int | None = None

    def refresh(self) -> bool:
        """Take in the commits since the last call; False where there is no such table."""
        if self._delta is not None:
            with suppress(DeltaError, OSError):  # commits in between are gone from the log: it starts at a checkpoint
                self._delta.update_incremental()
                return True
        try:
            self._delta = DeltaTable(self.location.address, storage_options=self.location.options)
        except TableNotFoundError:
            self._delta, self._files, self._files_version = None, {}, None
            return False
        return True

    @property
    def delta(self) -> DeltaTable:
        assert self._delta is not None
        return self._delta

    @property
    def version(self) -> int:
        return self.delta.version()

    @property
    def identity(self) -> str:
        """Of this very table: one that is made anew at the same place has another."""
        return str(self.delta.metadata().id)

    @property
    def schema(self) -> pa.Schema:
        return pa.schema(self.delta.schema().to_arrow())

    @property
    def is_plain(self) -> bool:
        """Whether its files hold its rows as they are: nothing marked as deleted, no columns under other names."""
        return not self.delta.protocol().reader_features

    @cached_property
    def file_system(self) -> fs.FileSystem:
        return self.location.file_system()

    @property
    def files(self) -> Mapping[str, DataFile]:
        """Its files by their paths. A file that was there at the last look is not looked at again."""
        if self._files_version != self.version:
            actions = pa.table(self.delta.get_add_actions(flatten=True))
            paths = actions["path"].to_pylist()
            new = [place for place, path in enumerate(paths) if path not in self._files]
            made = {file.path: file for file in _data_files(actions.take(pa.array(new, pa.int64())))}
            self._files = {path: self._files.get(path) or made[path] for path in paths}
            self._files_version = self.version
        return self._files

    def open_or_create(self, schema: DeltaSchema, about: str, configuration: Mapping[str, str]) -> None:
        """:meth:`refresh`; make the table when it is not there yet, and columns that an older version did not have.

        Rows that are there have null in such a column.
        """
        if self.refresh():
            self._add_columns(schema)
            return
        if is_local(self.location.address):
            Path(self.location.address).mkdir(parents=True, exist_ok=True)
        with suppress(CommitFailedError):  # another process has just made it
            DeltaTable.create(
                self.location.address,
                schema=schema,
                mode="ignore",
                description=about,
                configuration=dict(configuration),
                storage_options=self.location.options,
            )
        if not self.refresh():
            raise TableNotFoundError(f"No table at {self.location.address}")

    def _add_columns(self, schema: DeltaSchema) -> None:
        for _ in range(GROWING_ATTEMPTS):
            there = {field.name for field in self.delta.schema().fields}
            lacking = [field for field in schema.fields if field.name not in there]
            if not lacking:
                return
            with suppress(CommitFailedError):  # another process has just done it, or writes: the next look tells
                self.delta.alter.add_columns(lacking)
            self._delta = None
            self.refresh()
        raise DeltaError("columns that it lacks could not be added: other writers always came first")

    def transaction_version(self, name: str) -> int | None:
        """The number of the newest commit under the fence ``name``; None: there is none."""
        return self.delta.transaction_version(name)


def fragment(files: fs.FileSystem, path: str) -> ds.ParquetFileFragment:
    """A data file as Arrow reads it; it is opened when it is read."""
    return PARQUET.make_fragment(path, files)


@contextmanager
def environment_problem(sentence: str) -> Iterator[None]:
    """Raise what deltalake or the storage raises as ``sentence`` with the reason after it.

    Raises:
        EnvironmentProblem: as said.
    """
    try:
        yield
    except (DeltaError, OSError) as error:
        raise EnvironmentProblem(f"{sentence}: {first_line(error)}.") from error


def first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300].rstrip(".")


def _data_files(actions: pa.Table) -> list[DataFile]:
    times = [
        name.removeprefix("min.")
        for name in actions.column_names
        if name.startswith("min.") and pa.types.is_timestamp(actions.schema.field(name).type)
    ]
    return [
        DataFile(
            row["path"],
            row["size_bytes"],
            row["num_records"] or 0,
            {name: row[f"min.{name}"] for name in times},
            {name: row.get(f"max.{name}") for name in times},
        )
        for row in actions.to_pylist()
    ]
