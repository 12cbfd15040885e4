"""Print the views on the tables as SQL, for Spark, DuckDB or Trino.

Looks which tables there are; writes to standard output alone.
"""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from typing import Annotated

import typer

from features.errors import UsageError
from features.tables import TABLES
from lake.location import duckdb_relation, spark_relation
from lake.reader import LakeReader
from settings import cli, load_settings
from views.rendering import Named, named_tables, statements


class Engine(StrEnum):
    """What is to read the views."""

    duckdb = "duckdb"
    spark = "spark"
    trino = "trino"


def main(
    engine: Annotated[Engine, typer.Option(help="What is to read them.")] = Engine.duckdb,
    env: cli.Environment = "local",
    overrides: cli.Overrides = None,
    schema: Annotated[
        str, typer.Option(help="Where the views are to be, and for trino the tables, too, e.g. delta.behavior.")
    ] = "",
) -> None:
    """Print views as SQL: sessions, steps, people, days, current scores and alerts."""
    settings = load_settings(env, overrides or ())
    if engine is Engine.trino and not schema:
        raise UsageError("--engine trino: found no --schema; needed: the catalog and schema of the tables.")
    root = settings.storage.root
    tables: dict[Engine, Named] = {
        Engine.duckdb: partial(duckdb_relation, root),
        Engine.spark: partial(spark_relation, root),
        Engine.trino: named_tables(schema),
    }
    lake = LakeReader(root)
    there = [name for name, table in TABLES.items() if lake.snapshot(table) is not None]
    lake.close()
    if not there:
        raise UsageError(f"Under {root} there is no table yet: the platform makes them when it starts (make run).")
    head = ["INSTALL delta;\nLOAD delta;\nSET TimeZone = 'UTC';"] if engine is Engine.duckdb else []
    typer.echo("\n\n".join([*head, *statements(tables[engine], there=there, schema=schema)]))


if __name__ == "__main__":
    cli.run(main)
