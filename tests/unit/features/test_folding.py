"""Tiles folded in Arrow are those that Spark folds."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pyarrow as pa
from pyspark.sql import SparkSession

from features.behavior import by_user
from features.folding import folded, people_in
from features.merging import LEAN
from features.tables import EVENTS
from features.tiles import FOLDED, fold
from lake.schemas import arrow_schema

DAY = 86_400_000_000
BEGIN = datetime(2026, 1, 1, 23, tzinfo=UTC)
BEFORE_1970 = datetime(1969, 12, 31, 23, 58, 3, 7, tzinfo=UTC)
SCHEMA = pa.schema([arrow_schema(EVENTS).field(name) for name in FOLDED])


def some_events(count: int, seed: int) -> pa.Table:
    """Events of few users and pages within two hours, so that many share a minute."""
    chance = random.Random(seed)
    rows = [
        {
            "user_id": f"u{chance.randrange(20)}",
            "action": chance.choice(["click", "view", "interaction", "other"]),
            "page": chance.choice(["/a", "/b", "/ü"]),
            "timestamp": BEGIN + timedelta(microseconds=chance.randrange(7_200_000_000)),
            "session_id": chance.choice([None, "", "s1", f"s{chance.random()}"]),
            "received_at": chance.choice([None, BEGIN + timedelta(seconds=chance.randrange(99))]),
        }
        for _ in range(count)
    ]
    rows.append({**rows[0], "timestamp": BEFORE_1970})
    return pa.Table.from_pylist(rows, SCHEMA)


def test_events_fold_to_the_tiles_that_spark_folds_them_to(spark: SparkSession) -> None:
    events = some_events(2000, seed=3)
    order = [(name, "ascending") for name in ("user_id", "minute", "page")]
    ours, sparks = folded(events).sort_by(order), by_user(fold(spark.createDataFrame(events))).toArrow().sort_by(order)
    assert ours.num_rows < events.num_rows
    assert ours.to_pydict() == sparks.to_pydict()
    assert ours.schema.equals(LEAN)


def test_no_events_fold_to_no_tiles_and_are_of_nobody() -> None:
    assert folded(SCHEMA.empty_table()).equals(LEAN.empty_table())
    assert people_in(SCHEMA.empty_table(), DAY).num_rows == 0


def test_people_have_a_span_for_each_stretch_in_which_they_acted() -> None:
    times = {"ada": [0, 5, 3 * DAY], "bob": [DAY - 1, DAY], None: [7]}
    rows = [{"user_id": user, "timestamp": at} for user, several in times.items() for at in several]
    events = pa.Table.from_pylist(rows, pa.schema([("user_id", pa.string()), ("timestamp", pa.timestamp("us", "UTC"))]))
    spans = {(row["user_id"], row["first"], row["last"]) for row in people_in(events, DAY).to_pylist()}
    assert spans == {("ada", 0, 5), ("ada", 3 * DAY, 3 * DAY), ("bob", DAY - 1, DAY - 1), ("bob", DAY, DAY)}
