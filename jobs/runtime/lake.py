"""Delta tables by name: create, read, append exactly once. The only code that knows where a table lives."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession

from features.errors import SchemaError
from features.tables import TABLES, Table


@dataclass(frozen=True)
class Lake:
    """The tables under one root (a folder or an object-store address)."""

    spark: SparkSession
    root: str

    def path(self, table: Table) -> str:
        return f"{self.root.rstrip('/')}/{table.name}"

    def create(self, *tables: Table) -> None:
        """Create the tables that are not there yet (all declared ones when none is named)."""
        with ThreadPoolExecutor(max_workers=4) as pool:
            list(pool.map(self._create, tables or TABLES.values()))

    def _create(self, table: Table) -> None:
        if self.exists(table):
            return
        (
            DeltaTable.createIfNotExists(self.spark)
            .location(self.path(table))
            .comment(table.about)
            .addColumns(table.schema)
            # Only keys and times are pruned by; statistics of thirty numbers per file would cost more than a write.
            .property("delta.dataSkippingStatsColumns", ",".join(table.statistics))
            .property("delta.checkpointInterval", "20")
            .execute()
        )

    def exists(self, table: Table) -> bool:
        return bool(DeltaTable.isDeltaTable(self.spark, self.path(table)))

    def version(self, table: Table) -> int:
        """Newest Delta version of ``table``."""
        history = DeltaTable.forPath(self.spark, self.path(table)).history(1).select("version")
        return int(history.collect()[0][0])

    def read(self, table: Table, version: int | None = None) -> DataFrame:
        """All rows of ``table`` (of its Delta ``version`` where given)."""
        reader = self.spark.read.format("delta")
        if version is not None:
            reader = reader.option("versionAsOf", version)
        return reader.load(self.path(table))

    def read_stream(self, table: Table, max_files: int) -> DataFrame:
        """New rows of ``table`` as a stream; rewrites by maintenance and erasure are passed over."""
        return (
            self.spark.readStream.format("delta")
            .option("maxFilesPerTrigger", max_files)
            .option("skipChangeCommits", "true")
            .load(self.path(table))
        )

    def append(self, rows: DataFrame, table: Table, *, app_id: str, version: int) -> None:
        """Append ``rows`` once: a second append with the same ``app_id`` and ``version`` does nothing.

        Each write of a micro-batch needs an ``app_id`` of its own: Delta skips the second of two writes
        to the same table with the same pair.

        Raises:
            SchemaError: the columns are not the table's.
        """
        if rows.columns != table.columns:
            raise SchemaError(f"Rows for {table.name}: found columns {rows.columns}, needed {table.columns}.")
        (
            rows.write.format("delta")
            .mode("append")
            .option("txnAppId", app_id)
            .option("txnVersion", version)
            .save(self.path(table))
        )
