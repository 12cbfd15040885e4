"""Where a table is: the one place that puts addresses together, translates them, and opens a file system."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from pyarrow import fs

from features.tables import Table


def path_of(root: str, table: Table) -> str:
    """The folder of a table as Spark writes it: under ``root``, by the table's name."""
    return f"{root.rstrip('/')}/{table.name}"


def address_of(path: str) -> str:
    """A path of Spark as deltalake, Arrow and Polars write it: ``s3://`` for ``s3a://``, no ``file:``."""
    if path.startswith("s3a://"):
        return f"s3://{path.removeprefix('s3a://')}"
    return path.removeprefix("file:").replace("///", "/", 1) if path.startswith("file:/") else path


def spark_relation(root: str, table: str) -> str:
    """A table under ``root`` as Spark's SQL names it by its place."""
    return f"delta.`{root.rstrip('/').replace('`', '``')}/{table}`"


def duckdb_relation(root: str, table: str) -> str:
    """A table under ``root`` as SQL of DuckDB with its extension ``delta`` names it."""
    place = address_of(root).rstrip("/").replace("'", "''")
    return f"delta_scan('{place}/{table}')"


def is_local(address: str) -> bool:
    """Whether an ``address`` is a folder of this machine."""
    return "://" not in address


def file_system(address: str, options: dict[str, str] | None = None) -> fs.FileSystem:
    """The files under ``address``; paths in it are relative to that. The folder need not be there."""
    if is_local(address):
        return fs.SubTreeFileSystem(str(Path(address).absolute()), fs.LocalFileSystem())
    from deltalake.fs import DeltaStorageHandler  # noqa: PLC0415 - 0.1 s that a local worker need not spend

    return fs.PyFileSystem(DeltaStorageHandler(address, options or {}))


@dataclass(frozen=True)
class TableLocation:
    """Where a table is: its ``address``, and ``options`` of the store there (no secrets; none: by the environment)."""

    address: str
    options: dict[str, str] = field(default_factory=dict)

    @classmethod
    def under(cls, root: str, table: Table) -> Self:
        """The location of ``table`` under ``root``, a folder or the address of an object store as Spark writes it."""
        return cls(address_of(path_of(root, table)))

    def file_system(self) -> fs.FileSystem:
        """The table's files; paths in it are relative to the table."""
        return file_system(self.address, self.options)
