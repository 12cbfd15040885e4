"""Laws of judging, on records that nobody thought of: one verdict each, the door's verdict, and values as sent."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from features.events import REASONS, accepted, judge, rejected
from features.judging import FIELDS, TIMES
from serving.judging import judge as judge_at_the_door
from tests.unit.event_cases import RULES, utc
from tests.unit.json_reference import agrees, expected, record, spoiled
from tests.unit.test_events import RECORDS

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
FEW = settings(max_examples=3, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
"""An example is many records: Spark plans and compiles for each frame what then takes microseconds a record."""


def judged(spark: SparkSession, values: list[bytes]) -> DataFrame:
    received = utc(2026, 1, 1, 12)
    rows: list[tuple[Any, ...]] = [
        (str(i).encode(), value, [], "t", 0, i, received, received, "q:0") for i, value in enumerate(values)
    ]
    return judge(spark.createDataFrame(rows, RECORDS), RULES)


def check(spark: SparkSession, values: list[bytes]) -> None:
    verdicts = judged(spark, values).persist()
    times = [F.unix_micros(name).alias(name) if name in TIMES else F.col(name) for name in FIELDS]
    taken = accepted(verdicts).select("offset", "raw", *times).toArrow().to_pylist()
    refused = rejected(verdicts).select("offset", "raw", "reason", "detail").toArrow().to_pylist()
    verdicts.unpersist()
    assert sorted(row["offset"] for row in (*taken, *refused)) == list(range(len(values)))
    for row in (*taken, *refused):
        assert row["raw"] == values[row["offset"]]
        fault = judge_at_the_door(row["raw"], RULES, NOW).fault
        assert agrees(row.get("reason"), fault.reason if fault else None), row["raw"]
    for row in refused:
        assert row["reason"] in REASONS
        assert len(row["detail"] or "") <= 200
    for row in taken:
        found = {name: row[name] for name in FIELDS}
        found["properties"] = dict(found["properties"]) if found["properties"] else None
        assert found == expected(row["raw"]), row["raw"]


@FEW
@given(st.integers(0, 2**32))
def test_spoiled_records_get_one_verdict_each_and_those_that_pass_keep_their_values(
    spark: SparkSession, seed: int
) -> None:
    chance = random.Random(seed)
    values = [spoiled(chance, record(chance, number), 5_000) or b"" for number in range(300)]
    check(spark, values)
