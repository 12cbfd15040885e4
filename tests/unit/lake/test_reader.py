"""Reading Delta tables without Spark, written here by deltalake as Spark's micro-batches write them."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from features.errors import EnvironmentProblem
from features.tables import FEATURE_TABLE
from lake import reader
from lake.reader import LakeReader
from lake.schemas import arrow_schema

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


def minute(number: int) -> datetime:
    return NOON + timedelta(minutes=number)


def append(root: Path, batch: int, *rows: tuple[str, int, float]) -> None:
    """One micro-batch of feature rows: user, minute, clicks."""
    schema = arrow_schema(FEATURE_TABLE)
    stamped: list[dict[str, Any]] = [
        {
            "user_id": user,
            "window_start": minute(number),
            "session_start": NOON,
            "session_is_split": False,
            "clicks_per_minute": clicks,
            "feature_version": "1",
            "batch_time": minute(1000) + timedelta(seconds=batch),
            "batch_id": f"q {batch}",
        }
        for user, number, clicks in rows
    ]
    table = pa.Table.from_pylist([dict.fromkeys(schema.names) | row for row in stamped], schema)
    write_deltalake(f"{root}/features", table, mode="append")


def found(rows: pa.Table) -> list[tuple[str, int, float]]:
    return [
        (row["user_id"], round((row["window_start"] - NOON).total_seconds() / 60), row["clicks_per_minute"])
        for row in rows.to_pylist()
    ]


@pytest.fixture(autouse=True)
def _always_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "FRESH_SECONDS", 0.0)


@pytest.fixture
def lake(tmp_path: Path) -> LakeReader:
    return LakeReader(str(tmp_path))


def test_a_table_that_is_not_there_is_empty_and_appears_with_its_first_rows(lake: LakeReader, tmp_path: Path) -> None:
    assert lake.of_user(FEATURE_TABLE, "a", 10).num_rows == 0
    assert lake.version(FEATURE_TABLE) == -1
    append(tmp_path, 0, ("a", 0, 1.0))
    assert found(lake.of_user(FEATURE_TABLE, "a", 10)) == [("a", 0, 1.0)]


def test_only_the_newest_revision_is_given(lake: LakeReader, tmp_path: Path) -> None:
    append(tmp_path, 0, ("a", 0, 1.0), ("b", 0, 5.0))
    append(tmp_path, 1, ("a", 0, 2.0))
    assert sorted(found(lake.latest(FEATURE_TABLE))) == [("a", 0, 2.0), ("b", 0, 5.0)]


def test_a_users_minutes_come_newest_first_and_no_more_than_asked_for(lake: LakeReader, tmp_path: Path) -> None:
    for batch in range(5):
        append(tmp_path, batch, ("a", batch, float(batch)), ("b", batch, 9.0))
    assert found(lake.of_user(FEATURE_TABLE, "a", 2)) == [("a", 4, 4.0), ("a", 3, 3.0)]


def test_a_late_revision_of_an_old_minute_is_found_wherever_it_was_written(
    lake: LakeReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "FIRST_FILES", 1)
    for batch in range(6):
        append(tmp_path, batch, ("a", batch, float(batch)))
    append(tmp_path, 6, ("a", 3, 33.0))
    assert found(lake.of_user(FEATURE_TABLE, "a", 3)) == [("a", 5, 5.0), ("a", 4, 4.0), ("a", 3, 33.0)]


def test_files_outside_the_time_range_are_not_opened(lake: LakeReader, tmp_path: Path) -> None:
    append(tmp_path, 0, ("a", 0, 1.0))
    append(tmp_path, 1, ("a", 60, 2.0))
    lake.snapshot(FEATURE_TABLE)
    for file in tmp_path.joinpath("features").glob("*.parquet"):
        if file.name == oldest_file(lake):
            file.unlink()
    assert found(lake.latest(FEATURE_TABLE, since=minute(30))) == [("a", 60, 2.0)]
    with pytest.raises(EnvironmentProblem, match="Table features cannot be read"):
        lake.latest(FEATURE_TABLE)


def oldest_file(lake: LakeReader) -> str:
    snapshot = lake.snapshot(FEATURE_TABLE)
    assert snapshot is not None
    oldest = min(snapshot.files, key=lambda file: file.most["window_start"] or NOON)
    return oldest.path


def test_too_many_files_are_refused_with_what_to_do(
    lake: LakeReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "MAX_FILES", 1)
    for batch in range(3):
        append(tmp_path, batch, ("a", batch, 1.0))
    with pytest.raises(EnvironmentProblem, match=r"run jobs\.maintain_tables"):
        lake.latest(FEATURE_TABLE)


def test_a_slow_read_does_not_hold_the_event_loop_and_is_given_up(tmp_path: Path) -> None:
    lake = LakeReader(str(tmp_path), seconds=0.05)

    async def ask() -> None:
        await lake.run(time.sleep, 1.0)

    with pytest.raises(EnvironmentProblem, match=r"did not answer within 0\.05 s"):
        asyncio.run(ask())
