"""Delta tables written and read without Spark: for what is small and often, where a Spark job would cost a second."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import CommitProperties, Transaction, WriterProperties, write_deltalake
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction, RemoveAction
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random

from features.errors import BehaviorError
from features.tables import Table
from lake.location import TableLocation
from lake.schemas import arrow_schema, properties
from lake.snapshot import PARQUET, STATISTICS_GRAIN, OpenTable, environment_problem, fragment

ATTEMPTS = 10
"""How often an append is tried that another commit came before."""
JOINED = WriterProperties(compression="SNAPPY", max_row_group_size=100_000, dictionary_page_size_limit=8_388_608)
"""Of files that small ones are joined to: row groups of some 8 MB, as ``spark.session`` has it for Spark."""
log = logging.getLogger(__name__)


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
    there = OpenTable(TableLocation.under(root, table))
    make(there, table)
    return there


def make(there: OpenTable, table: Table) -> None:
    """Open the table as it is now, made as declared when it is not there yet.

    Raises:
        EnvironmentProblem: the storage cannot be reached.
    """
    with environment_problem(f"Table {table.name} at {there.location.address} cannot be opened"):
        there.open_or_create(DeltaSchema.from_json(table.schema.json()), table.about, properties(table))


def append(
    root: str,
    table: Table,
    rows: pa.Table | Sequence[Mapping[str, Any]],
    *,
    batch_id: str | None = None,
    fence: Fence | None = None,
    there: OpenTable | None = None,
) -> None:
    """Append rows in one commit, tried again beside other writers.

    Args:
        rows: every column of the table; as mappings, one per row.
        there: the table, for who writes often and keeps it open: opening it anew costs more with each commit.
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

    there = OpenTable(TableLocation.under(root, table)) if there is None else there

    def write() -> None:
        make(there, table)
        if fence is not None and there.transaction_version(fence.name) != fence.before:
            raise BehaviorError(
                f"Table {table.name} was written by another process that runs as {fence.name!r}. Stop one of the two."
            )
        write_deltalake(there.delta, data, mode="append", commit_properties=properties)

    with environment_problem(f"Table {table.name} cannot be written"):
        _attempts()(write)


def commit(there: OpenTable, adds: Sequence[str], *, note: str, fence: tuple[str, int] | None = None) -> bool:
    """Append files that are there to the table in one commit, tried again beside other writers.

    Delta's own transactions take five to thirty times as long (decision 117).

    Args:
        adds: Delta's ``add`` actions as JSON, of files that are there (:class:`lake.worker_files.TableFiles`).
        note: kept with the commit as its ``userMetadata``.
        fence: a name and a number that grows.

    Returns:
        False where the fence refuses it: that number, or a greater one, is there already.

    Raises:
        EnvironmentProblem: the storage cannot be written, or stays too busy.
    """
    address = there.location.address
    actions: list[AddAction | RemoveAction] = [_action(json.loads(add)["add"]) for add in adds]
    # It depends on no row of the table, which Delta's own conflict check wants to be told.
    about: dict[str, Any] = {"userMetadata": note, "isBlindAppend": True}
    properties = CommitProperties(about, app_transactions=None if fence is None else [Transaction(*fence)])

    def write() -> bool:
        if not there.refresh():
            raise FileNotFoundError(f"there is no table at {address}")
        newest = None if fence is None else there.transaction_version(fence[0])
        if fence is not None and newest is not None and newest >= fence[1]:
            return False
        there.delta.create_write_transaction(actions, "append", there.delta.schema(), commit_properties=properties)
        return True

    with environment_problem(f"Table {address} cannot be written"):
        return bool(_attempts()(write))


def join_small(there: OpenTable, least: int, most_bytes: int) -> None:
    """Join files of up to half of ``most_bytes`` where there are ``least`` of them; rows stay as they are.

    Where another writer is in the way, it is left to a later call.
    """
    with environment_problem(f"Table {there.location.address} cannot be read"):
        there.refresh()
    if sum(file.bytes <= most_bytes // 2 for file in there.files.values()) < least:
        return
    try:
        there.delta.optimize.compact(target_size=most_bytes, max_concurrent_tasks=1, writer_properties=JOINED)
    except (DeltaError, OSError):
        log.info("small files of %s are joined later", there.location.address, exc_info=True)


def _action(add: Mapping[str, Any]) -> AddAction:
    return AddAction(
        path=add["path"],
        size=add["size"],
        partition_values=add["partitionValues"],
        modification_time=add["modificationTime"],
        data_change=add["dataChange"],
        stats=add["stats"],
    )


def _attempts() -> Retrying:
    return Retrying(
        retry=retry_if_exception_type(CommitFailedError),
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_random(0, 0.5),
        reraise=True,
    )


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


def read_after(
    there: OpenTable, table: Table, after: datetime, until: datetime | None = None, columns: Sequence[str] | None = None
) -> pa.Table:
    """Rows with ``after < batch_time <= until``, for who follows a table that he keeps open; else as :func:`read`.

    Only files that may hold such rows are read.
    """
    names = list(columns or table.columns)
    time, within = pc.field("batch_time"), pc.field("batch_time") > after
    with environment_problem(f"Table {table.name} cannot be read"):
        if not there.refresh():
            return arrow_schema(table).empty_table().select(names)
        end = None if until is None else until + STATISTICS_GRAIN
        files = [file for file in there.files.values() if file.may_hold("batch_time", after, end)]
        fragments = [fragment(there.file_system, file.path) for file in files]
        rows = ds.FileSystemDataset(fragments, there.schema, PARQUET, there.file_system)
        return rows.to_table(columns=names, filter=within if until is None else within & (time <= until))
