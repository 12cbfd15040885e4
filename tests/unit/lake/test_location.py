"""Where tables are, and how their files are reached."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from features.tables import EVENTS, LEDGER_GAPS
from lake import arrow_tables, notes
from lake.folders import ArrowFolder
from lake.location import TableLocation, address_of, file_system, is_local


@pytest.mark.parametrize(
    ("root", "address", "local"),
    [
        ("/data/lake", "/data/lake/events", True),
        ("lake/", "lake/events", True),
        ("file:///data/lake", "/data/lake/events", True),
        ("file:/data/lake", "/data/lake/events", True),
        ("s3a://bucket/lake/", "s3://bucket/lake/events", False),
        ("s3://bucket/lake", "s3://bucket/lake/events", False),
        ("abfss://box@there/lake", "abfss://box@there/lake/events", False),
    ],
)
def test_a_table_is_under_its_root_whatever_way_that_is_written(root: str, address: str, local: bool) -> None:
    location = TableLocation.under(root, EVENTS)
    assert (location.address, is_local(location.address)) == (address, local)


def test_a_folder_need_not_be_there_and_its_files_are_read_by_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = ArrowFolder(file_system(address_of("there")))
    assert (folder.read("a/b"), folder.listing(), folder.listing("a")) == (None, [], [])
    tmp_path.joinpath("there/a").mkdir(parents=True)
    tmp_path.joinpath("there/a/b").write_bytes(b"text")
    os.utime("there/a/b", (5, 5))
    assert folder.read("a/b") == b"text"
    assert [(file.name, file.modified.timestamp(), file.size) for file in folder.listing("a")] == [("b", 5.0, 4)]


def test_a_table_in_a_folder_is_read_without_python_in_arrows_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that asks for Python while that ends kills the process: raise_alerts had done its work, and exit code -6."""
    row = {"topic": "t", "partition": 0, "first": 0, "until": 1, "found_at": datetime.now(UTC), "batch_id": "b:0"}
    arrow_tables.opened(str(tmp_path), LEDGER_GAPS)
    arrow_tables.append(str(tmp_path), LEDGER_GAPS, [row])

    def python_files(*_: object) -> None:
        raise AssertionError("a file system made of Python")

    monkeypatch.setattr("deltalake.fs.DeltaStorageHandler", python_files)
    assert arrow_tables.read(str(tmp_path), LEDGER_GAPS, ["topic", "batch_id"]).to_pylist() == [
        {"topic": "t", "batch_id": "b:0"}
    ]


def test_a_note_is_there_when_it_is_written_and_is_the_newest_one(tmp_path: Path) -> None:
    for folder in (f"{tmp_path}/a", f"file://{tmp_path}/a"):
        notes.write(folder, "n", {"folder": folder})
        assert notes.read(f"{tmp_path}/a", "n") == {"folder": folder}
    assert notes.read(f"{tmp_path}/a", "other") is None
    assert [file.name for file in tmp_path.joinpath("a").iterdir()] == ["n.json"]


@pytest.mark.slow
def test_on_s3_notes_and_files_are_read_as_in_a_folder(s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    folder = "s3a://locks/checkpoints/query"
    assert notes.read(folder, "n") is None
    for number in (1, 2):
        notes.write(folder, "n", {"number": number})
        assert notes.read(folder, "n") == {"number": number}
    files = ArrowFolder(file_system(address_of(folder)))
    assert [(file.name, file.size) for file in files.listing()] == [("n.json", len('{"number": 2}'))]
    assert files.listing("elsewhere") == []
