"""Laws of validation in Spark, on records that nobody thought of: one verdict each, the validator's; values as sent."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from features.context import CONTEXT_FIELDS
from features.events import FIELDS, TIMES
from features.packed import VERDICT
from features.records import accepted, rejected, validate
from features.verdicts import reading_of
from tests.unit.features.event_cases import NOON, RULES, utc
from tests.unit.features.json_reference import expected_row, record, spoiled
from tests.unit.features.test_events import RECORDS
from tests.unit.features.test_validation import verdict

FEW = settings(max_examples=3, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
"""An example is many records: Spark plans and compiles for each frame what then takes microseconds a record."""


@FEW
@given(st.integers(0, 2**32))
def test_spoiled_records_get_one_verdict_each_and_those_that_pass_keep_their_values(
    spark: SparkSession, seed: int
) -> None:
    chance, received = random.Random(seed), utc(2026, 1, 1, 12)
    mutants = [spoiled(chance, record(chance, number), 5_000) for number in range(300)]
    values = [value for value in mutants if not isinstance(reading_of(value, RULES, NOON, None), list)]
    rows: list[tuple[Any, ...]] = [
        (str(i).encode(), value, [], "t", 0, i, received, received, "q:0") for i, value in enumerate(values)
    ]
    validated = validate(spark.createDataFrame(rows, RECORDS), RULES).persist()
    columns = (*FIELDS, *CONTEXT_FIELDS, "invalid_fields")
    times = [F.unix_micros(name).alias(name) if name in TIMES else F.col(name) for name in columns]
    taken = accepted(validated).select("offset", "raw", *times).toArrow().to_pylist()
    refused = rejected(validated).select("offset", "raw", *VERDICT).toArrow().to_pylist()
    validated.unpersist()
    assert sorted(row["offset"] for row in (*taken, *refused)) == list(range(len(values)))
    for row in (*taken, *refused):
        assert row["raw"] == values[row["offset"]]
        assert tuple(row.get(name) for name in VERDICT) == verdict(row["raw"]), row["raw"]
    for row in taken:
        found = {name: row[name] for name in columns}
        found["properties"] = dict(found["properties"]) if found["properties"] else None
        assert found == expected_row(row["raw"]), row["raw"]
