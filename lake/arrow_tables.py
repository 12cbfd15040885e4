"""Delta tables written and read without Spark: for what is small and often, where a Spark job would cost a second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import CommitProperties, Transaction, write_deltalake
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import CommitFailedError
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random

from features.errors import BehaviorError
from features.tables import Table
from lake.location import TableLocation
from lake.schemas import arrow_schema
from lake.snapshot import OpenTable, environment_problem, open_or_create

ATTEMPTS = 10
"""How often an append is tried that another commit came before."""


@dataclass(frozen=True)
class Fence:
    """A writer's name, the number of this commit (growing), and that of the writer's commit before (None: no such)."""

    name: str
    number: int
    before: int | None


def opened(root: str, table: Table) -> OpenTable:
    """The table as it is now, made as declared when it is not there yet.

    Raises:
        EnvironmentProblem: the storage cannot be reached.
    """
    location = TableLocation.under(root, table)
    with environment_problem(f"Table {table.name} at {location.address} cannot be opened"):
        return open_or_create(
            location,
            DeltaSchema.from_json(table.schema.json()),
            about=table.about,
            configuration={
                "delta.dataSkippingStatsColumns": ",".join(table.statistics),
                "delta.checkpointInterval": "20",
            },
        )


def append(
    root: str,
    table: Table,
    rows: pa.Table | Sequence[Mapping[str, Any]],
    *,
    batch_id: str | None = None,
    fence: Fence | None = None,
) -> None:
    """Append rows in one commit, tried again beside other writers.

    Args:
        rows: every column of the table; as mappings, one per row.
        batch_id: kept with the commit as its ``userMetadata``, as streams do.
        fence: refuses the commit when another process has written under the fence's name.

    Raises:
        BehaviorError: another process has written under the fence's name.
        EnvironmentProblem: the storage cannot be written, or stays too busy.
    """
    schema = arrow_schema(table)
    data = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
    properties = CommitProperties(
        custom_metadata=None if batch_id is None else {"userMetadata": batch_id},
        app_transactions=None if fence is None else [Transaction(fence.name, fence.number)],
    )

    def write() -> None:
        there = opened(root, table)
        if fence is not None and there.transaction_version(fence.name) != fence.before:
            raise BehaviorError(
                f"Table {table.name} was written by another process that runs as {fence.name!r}. Stop one of the two."
            )
        write_deltalake(there.delta, data, mode="append", commit_properties=properties)

    attempts = Retrying(
        retry=retry_if_exception_type(CommitFailedError),
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_random(0, 0.5),
        reraise=True,
    )
    with environment_problem(f"Table {table.name} cannot be written"):
        attempts(write)


def read(root: str, table: Table, columns: Sequence[str] | None = None, where: ds.Expression | None = None) -> pa.Table:
    """Rows of a table, revisions and all; none where there is no such table yet.

    Raises:
        EnvironmentProblem: the storage cannot be read.
    """
    names = list(columns or table.columns)
    there = OpenTable(TableLocation.under(root, table))
    with environment_problem(f"Table {table.name} cannot be read"):
        if not there.refresh():
            return arrow_schema(table).empty_table().select(names)
        # By Arrow's own files, not deltalake's, which are Python: a thread of Arrow that asks for Python while the
        # process ends is its end.
        return there.delta.to_pyarrow_dataset(filesystem=there.file_system).to_table(columns=names, filter=where)
