"""Programs that write one table at the same time, each in a process of its own, and tell what they have written.

``python -m tests.integration.table_writers KIND ROOT NAME`` opens the table, prints ``ready``, waits for a line on its
standard input, then appends commit after commit and prints the number of each one when it is made. It ends at COUNT
commits or when it is killed.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from features.tables import LEDGER_GAPS
from lake import arrow_tables
from lake.schemas import arrow_schema
from lake.spark_tables import Lake
from lake.worker_files import TableFiles
from settings import load_settings
from spark.session import spark_session
from tests.conftest import JAVA

Append = Callable[[str, list[dict[str, Any]]], None]
PAUSE = 0.3
SPARK = [
    "spark.master=local[1]",
    "spark.driver_memory=512m",
    "spark.shuffle_partitions=1",
    f"spark.java_options={JAVA}",
]


def rows_of(name: str, number: int) -> list[dict[str, Any]]:
    """One to three rows of the writer's commit."""
    now = datetime.now(UTC)
    return [
        {
            "topic": name,
            "partition": part,
            "first": number,
            "until": number,
            "found_at": now,
            "batch_id": f"{name}:{number}",
        }
        for part in range(1 + number % 3)
    ]


def by_deltalake(root: str) -> Append:
    arrow_tables.opened(root, LEDGER_GAPS)
    return lambda batch, rows: arrow_tables.append(root, LEDGER_GAPS, rows, batch_id=batch)


def by_spark(root: str) -> Append:
    lake = _lake(root)

    def append(batch: str, rows: list[dict[str, Any]]) -> None:
        frame = lake.spark.createDataFrame([list(row.values()) for row in rows], LEDGER_GAPS.schema)
        lake.append(frame.coalesce(1), LEDGER_GAPS, batch_id=batch)

    return append


def by_workers(root: str) -> Append:
    lake = _lake(root)

    def write(batches: Iterator[pa.RecordBatch], table: TableFiles) -> None:
        for batch in batches:
            table.write(pa.Table.from_batches([batch]))

    def append(batch: str, rows: list[dict[str, Any]]) -> None:
        frame = lake.spark.createDataFrame([list(row.values()) for row in rows], LEDGER_GAPS.schema).coalesce(1)
        lake.commit(lake.written_by_workers(frame, [LEDGER_GAPS], write)[LEDGER_GAPS], LEDGER_GAPS, batch_id=batch)

    return append


def by_fenced(root: str) -> Append:
    """As a driver of a query of which there is another one."""
    table = arrow_tables.opened(root, LEDGER_GAPS)

    def append(batch: str, rows: list[dict[str, Any]]) -> None:
        with TableFiles(table.location, LEDGER_GAPS) as files:
            files.write(pa.Table.from_pylist(rows, schema=arrow_schema(LEDGER_GAPS)))
        number = int(batch.rpartition(":")[2])
        arrow_tables.commit(table, files.described, note=batch, fence=("query", number))

    return append


KINDS = {"deltalake": by_deltalake, "spark": by_spark, "workers": by_workers, "fenced": by_fenced}


def _lake(root: str) -> Lake:
    settings = load_settings("local", [f"storage.root={root}", f"storage.checkpoints={root}/checkpoints", *SPARK])
    spark = spark_session(settings)
    spark.sparkContext.setLogLevel("OFF")
    lake = Lake(spark, root)
    lake.create(LEDGER_GAPS)
    return lake


def main(kind: str, root: str, name: str, count: int) -> None:
    append = KINDS[kind](root)
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(count):
        append(f"{name}:{number}", rows_of(name, number))
        print(number, flush=True)
        if kind != "fenced":
            time.sleep(random.uniform(0, PAUSE))  # the quickest would keep the others out


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
