"""The views mean the same to Spark and to DuckDB, on real tables."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import duckdb
import pytest
from pyspark.sql import SparkSession

from features.tables import ALERTS, EVENTS, FEEDBACK, PATTERN_MEMBERS, SCORES, SEGMENTS
from lake.location import spark_relation
from lake.reader import LakeReader
from lake.spark_tables import Lake
from tests.integration.planted import CLICKERS, READERS, event_rows, people, score_rows
from views.rendering import named_tables, statements, views

pytestmark = pytest.mark.integration

DAY = datetime(2026, 3, 2, tzinfo=UTC)
TABLES = (EVENTS, SCORES, ALERTS, FEEDBACK, PATTERN_MEMBERS, SEGMENTS)


def test_spark_and_duckdb_find_the_same_rows_in_every_view(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, str(tmp_path))
    lake.create(*TABLES)
    acts, kinds = people(DAY, 4, 1, (CLICKERS, READERS))
    starts: dict[tuple[str, datetime], str] = {}
    for act in acts:
        starts[act.user, act.time.replace(second=0, microsecond=0)] = (
            "anomaly" if kinds[act.user] == CLICKERS else "normal"
        )
    lake.append(event_rows(spark, acts), EVENTS, batch_id="11-22:0")
    lake.append(score_rows(spark, [(*key, verdict) for key, verdict in starts.items()]), SCORES, batch_id="1:1")
    for statement in statements(partial(spark_relation, str(tmp_path)), temporary=True):
        spark.sql(statement.rstrip(";"))
    reader = LakeReader(str(tmp_path))
    with duckdb.connect() as other:
        other.execute("SET TimeZone = 'UTC'")
        for table in TABLES:
            other.register(table.name, reader.dataset(table))
        for statement in statements(named_tables("")):
            other.execute(statement)
        for view in views():
            here = sorted(map(_plain, spark.table(view.name).toArrow().to_pylist()))
            there = sorted(map(_plain, other.sql(f"SELECT * FROM {view.name}").fetch_arrow_table().to_pylist()))
            assert here == there, view.name
        assert other.execute("SELECT count(*) FROM people_without_bots").fetchone() == (4,)
        assert other.execute("SELECT count(*) FROM steps").fetchone() == (len(acts),)
    reader.close()


def _plain(row: dict[str, object]) -> list[tuple[str, str]]:
    """A row to compare: times as moments, whatever zone their engine tells them in."""
    moments = {name: value.astimezone(UTC) if isinstance(value, datetime) else value for name, value in row.items()}
    return [(name, str(value)) for name, value in sorted(moments.items())]
