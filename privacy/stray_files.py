"""Files under a table's folder that are in no version of the table: what killed processes and refused commits left."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from features.tables import REJECTED_EVENTS, Table
from lake.spark_tables import Lake
from privacy.mentions import IDS, People

NEEDED = ("raw", "kafka_key", "headers", "detail")
"""Columns of rejected events that may name somebody."""


def strays(lake: Lake, table: Table) -> set[str]:
    """Names of data files that are not in the table as it is now: left behind, or just being written.

    The folder is looked at before the log is: a file whose commit comes in between is none.
    """
    there = {file.name for file in lake.folder(table).listing() if _is_data(file.name)}
    if not there:
        return there
    return there - {unquote(PurePosixPath(file).name) for file in lake.read(table).inputFiles()}


def naming(lake: Lake, table: Table, names: Iterable[str], people: People) -> list[str]:
    """Those of the files that hold rows of ``people``, or cannot be read to the end: who wrote them was killed."""
    system = lake.location(table).file_system()
    matching = []
    for name in sorted(names):
        try:
            with system.open_input_file(name) as source, pq.ParquetFile(source) as file:
                groups = (file.read_row_group(at, columns=_columns(table)) for at in range(file.num_row_groups))
                is_one = any(any(people.of_rows(rows).to_pylist()) for rows in groups)
        except FileNotFoundError:
            continue
        except (pa.ArrowInvalid, KeyError, OSError, EOFError):
            is_one = True
        if is_one:
            matching.append(name)
    return matching


def _columns(table: Table) -> list[str]:
    return list(NEEDED) if table is REJECTED_EVENTS else [name for name in IDS if name in table.columns]


def _is_data(name: str) -> bool:
    return name.endswith(".parquet") and not name.startswith(("_", "."))
