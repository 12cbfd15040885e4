"""What a checkpoint says of its query, written here as Spark writes it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lake.folders import ArrowFolder
from lake.location import file_system
from streams.checkpoints import Checkpoint, PlannedBatch

DELTA = {"sourceVersion": 1, "reservoirId": "r", "reservoirVersion": 7, "index": -1, "isStartingVersion": False}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    return Checkpoint(ArrowFolder(file_system(str(tmp_path))))


def note(folder: Path, name: str, text: str = "v1\n{}") -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.with_name(f".{path.name}.crc").write_text("")


def plan(folder: Path, number: int, *ends: object) -> None:
    """Note batch ``number``, planned so many seconds after 1970."""
    lines = ["v1", json.dumps({"batchWatermarkMs": 0, "batchTimestampMs": number * 1000})]
    lines += [end if isinstance(end, str) else json.dumps(end) for end in ends]
    note(folder, f"offsets/{number}", "\n".join(lines))


def test_a_query_that_never_started_has_nothing(checkpoint: Checkpoint) -> None:
    assert (checkpoint.query_id, checkpoint.planned(), checkpoint.finished()) == (None, {}, {})
    assert (checkpoint.batch(0), checkpoint.kafka_ends(0), checkpoint.kafka_begin()) == (None, {}, None)


def test_batches_are_known_by_their_numbers_and_plans(checkpoint: Checkpoint, tmp_path: Path) -> None:
    note(tmp_path, "metadata", '{"id":"q"}')
    for number in (9, 10, 11):
        plan(tmp_path, number, {"topic": {"0": number}})
    note(tmp_path, "commits/9")
    note(tmp_path, "commits/10")
    assert checkpoint.query_id == "q"
    assert (max(checkpoint.planned()), max(checkpoint.finished())) == (11, 10)
    batch = checkpoint.batch(11)
    assert batch is not None
    assert (batch.time, batch.ends) == (datetime.fromtimestamp(11, UTC), ('{"topic": {"0": 11}}',))


def test_ends_are_told_by_the_kind_of_the_source(checkpoint: Checkpoint, tmp_path: Path) -> None:
    plan(tmp_path, 0, {"a": {"0": 3, "1": 4}, "b": {"0": 5}})
    plan(tmp_path, 1, DELTA)
    plan(tmp_path, 2, "-")
    note(tmp_path, "sources/0/0", '0v1\n{"a":{"0":1}}')
    kafka, delta, neither = (checkpoint.batch(number) for number in range(3))
    assert kafka is not None
    assert delta is not None
    assert neither is not None
    assert (kafka.kafka_ends, kafka.delta_end) == ({("a", 0): 3, ("a", 1): 4, ("b", 0): 5}, None)
    assert (delta.kafka_ends, delta.delta_end) == ({}, DELTA)
    assert (neither.kafka_ends, neither.delta_end) == ({}, None)
    assert checkpoint.kafka_begin() == {("a", 0): 1}


@pytest.mark.parametrize(
    ("end", "version"),
    [(DELTA, 7), ({**DELTA, "index": 3}, None), ({**DELTA, "isStartingVersion": True}, None)],
    ids=["whole", "within a version", "within what was there at first"],
)
def test_a_batch_has_read_whole_versions_only_where_it_ends_between_two(
    end: dict[str, object], version: int | None
) -> None:
    assert PlannedBatch(datetime.now(UTC), (json.dumps(end),)).whole_version == version
