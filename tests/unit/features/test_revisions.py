"""The newest revision without Spark."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from features.revisions import latest, latest_in_arrow
from features.tables import ALERTS, RISK

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_the_newest_batch_time_wins_and_then_the_greatest_batch_id_in_any_order(order: tuple[int, ...]) -> None:
    later = NOON + timedelta(microseconds=1)
    written = [("a", NOON, "q:9", 1), ("a", later, "q:1", 2), ("b", NOON, "q:1", 3), ("b", NOON, "q:2", 4)]
    columns = zip(*[written[i] for i in order], strict=True)
    rows = pa.table(dict(zip(["alert_id", "batch_time", "batch_id", "n"], map(list, columns), strict=True)))
    assert latest_in_arrow(rows, ALERTS)["n"].to_pylist() in ([2, 4], [4, 2])


def test_of_no_rows_nothing_is_newest() -> None:
    kinds = [("alert_id", pa.string()), ("batch_time", pa.timestamp("us", "UTC")), ("batch_id", pa.string())]
    assert latest_in_arrow(pa.schema(kinds).empty_table(), ALERTS).num_rows == 0


def test_with_and_without_spark_the_newest_revisions_are_the_same(spark: SparkSession) -> None:
    written = [
        (user, NOON, hour, 0, 0.0, 0.0, 0.0, float(n), NOON + timedelta(microseconds=n % 3), f"q:{n % 5}")
        for n, (user, hour) in enumerate([("a", 1), ("b", 1), ("a", 2), ("a", 1), ("b", 1), ("a", 1), ("b", 1)])
    ]
    frame = spark.createDataFrame([(*row[:2], *row[2:]) for row in written], RISK.schema)
    found = sorted(map(str, latest(frame, RISK).toArrow().to_pylist()))
    assert found == sorted(map(str, latest_in_arrow(frame.toArrow(), RISK).to_pylist()))
    assert len(found) == 2
