"""Delta tables written and read without Spark: for what is small and often, where a Spark job would cost a second."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from pyspark.sql.pandas.types import to_arrow_schema
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random

from features.errors import BehaviorError, EnvironmentProblem
from features.tables import Table

ATTEMPTS = 10
"""How often an append is tried that another commit came before."""


@dataclass(frozen=True)
class Fence:
    """A writer's name, the number of this commit (growing), and that of the writer's commit before (None: no such)."""

    name: str
    number: int
    before: int | None


def address(root: str, table: Table) -> str:
    """Where a table lies, as deltalake writes it."""
    return f"{address_of(root.rstrip('/'))}/{table.name}"


def address_of(place: str) -> str:
    """An address of Spark as deltalake writes it: ``s3://`` for ``s3a://``, a path for what is on this machine."""
    if place.startswith("s3a://"):
        return f"s3://{place.removeprefix('s3a://')}"
    return place.removeprefix("file:").replace("///", "/", 1) if place.startswith("file:/") else place


def arrow_schema(table: Table) -> pa.Schema:
    """The table's columns as Arrow has them."""
    return to_arrow_schema(table.schema, timezone="UTC")


def opened(root: str, table: Table) -> DeltaTable:
    """The table, made as declared when it is not there yet.

    Raises:
        EnvironmentProblem: the storage cannot be reached.
    """
    place = address(root, table)
    try:
        try:
            return DeltaTable(place)
        except TableNotFoundError:
            if "://" not in place:
                Path(place).mkdir(parents=True, exist_ok=True)
            with suppress(CommitFailedError):  # another process has just made it
                return DeltaTable.create(
                    place,
                    schema=DeltaSchema.from_json(json.dumps(json.loads(table.schema.json()))),
                    mode="ignore",
                    description=table.about,
                    configuration={
                        "delta.dataSkippingStatsColumns": ",".join(table.statistics),
                        "delta.checkpointInterval": "20",
                    },
                )
            return DeltaTable(place)
    except (DeltaError, OSError) as error:
        raise EnvironmentProblem(f"Table {table.name} at {place} cannot be opened: {first_line(error)}.") from error


def append(
    root: str,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    *,
    batch_id: str | None = None,
    fence: Fence | None = None,
) -> None:
    """Append rows in one commit, tried again beside other writers.

    Args:
        rows: one mapping per row with every column of the table.
        batch_id: kept with the commit as its ``userMetadata``, as streams do.
        fence: refuses the commit when another process has written under the fence's name.

    Raises:
        BehaviorError: another process has written under the fence's name.
        EnvironmentProblem: the storage cannot be written, or stays too busy.
    """
    data = pa.Table.from_pylist([dict(row) for row in rows], schema=arrow_schema(table))
    properties = CommitProperties(
        custom_metadata=None if batch_id is None else {"userMetadata": batch_id},
        app_transactions=None if fence is None else [Transaction(fence.name, fence.number)],
    )

    def write() -> None:
        delta = opened(root, table)
        if fence is not None and delta.transaction_version(fence.name) != fence.before:
            raise BehaviorError(
                f"Table {table.name} was written by another process that runs as {fence.name!r}. Stop one of the two."
            )
        write_deltalake(delta, data, mode="append", commit_properties=properties)

    attempts = Retrying(
        retry=retry_if_exception_type(CommitFailedError),
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_random(0, 0.5),
        reraise=True,
    )
    try:
        attempts(write)
    except (DeltaError, OSError) as error:
        raise EnvironmentProblem(f"Table {table.name} cannot be written: {first_line(error)}.") from error


def read(root: str, table: Table, columns: Sequence[str] | None = None, where: ds.Expression | None = None) -> pa.Table:
    """Rows of a table, revisions and all; none where there is no such table yet.

    Raises:
        EnvironmentProblem: the storage cannot be read.
    """
    names = list(columns or table.columns)
    try:
        dataset = DeltaTable(address(root, table)).to_pyarrow_dataset()
        return dataset.to_table(columns=names, filter=where)
    except TableNotFoundError:
        return arrow_schema(table).empty_table().select(names)
    except (DeltaError, OSError) as error:
        raise EnvironmentProblem(f"Table {table.name} cannot be read: {first_line(error)}.") from error


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300].rstrip(".")
