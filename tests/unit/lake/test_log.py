"""Following a table by the commits in its log: each new row is told once, and nothing else counts as new."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from features.tables import EVENTS
from lake import log
from lake.commit_notes import Note
from lake.folders import ArrowFolder
from lake.location import TableLocation, file_system
from lake.log import GAP, CommitFollower, RecentCommits, parse

INFO = {"commitInfo": {"timestamp": 5000, "userMetadata": 'q:3 {"topic":{"0":7}}'}}
ADD = {"add": {"path": "a%20b.parquet", "dataChange": True, "stats": json.dumps({"numRecords": 7})}}
JOINED = {"add": {**ADD["add"], "dataChange": False}}
REMOVE = {"remove": {"path": "x", "dataChange": True}}


def lines(*actions: Any) -> bytes:
    return "\n".join(json.dumps(action, ensure_ascii=False) for action in actions).encode()


def test_a_commit_tells_its_rows_its_files_and_the_batch_that_wrote_it() -> None:
    found = parse(1, lines(INFO, ADD))
    assert (found.at, found.rows, found.added, found.removed) == (5.0, 7, ("a b.parquet",), ())
    assert (found.batch, found.note) == ("q:3", Note("q:3", '{"topic":{"0":7}}'))


@pytest.mark.parametrize(
    ("actions", "appends", "names_files"),
    [((), False, False), ((ADD,), True, True), ((JOINED,), False, True), ((ADD, REMOVE), False, True)],
)
def test_only_commits_with_new_rows_count(actions: tuple[Any, ...], appends: bool, names_files: bool) -> None:
    found = parse(1, lines(INFO, *actions))
    assert (found.appends, found.names_files) == (appends, names_files)


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\u0085"])
def test_a_user_whose_id_holds_what_some_take_for_the_end_of_a_line_does_not_break_the_line(character: str) -> None:
    stats = json.dumps({"numRecords": 1, "minValues": {"user_id": f"a{character}b"}}, ensure_ascii=False)
    found = parse(1, lines(INFO, {"add": {"path": f"a{character}b", "dataChange": True, "stats": stats}}))
    assert (found.rows, found.added) == (1, (f"a{character}b",))


def append(root: Path, *users: str) -> None:
    write_deltalake(str(root / EVENTS.name), pa.table({"user_id": list(users)}), mode="append")


def following(root: Path, back: int = 200) -> RecentCommits:
    return RecentCommits(TableLocation.under(str(root), EVENTS), back)


def users(commits: RecentCommits) -> list[str]:
    found = [commits.read(commit, ["user_id"]) for commit in commits.poll()]
    return [user for rows in found if rows is not None for user in rows["user_id"].to_pylist()]


def test_a_table_is_followed_from_a_few_commits_back_and_from_its_making_on(tmp_path: Path) -> None:
    early, late = following(tmp_path), following(tmp_path, back=2)
    assert (users(early), early.version) == ([], -1)
    for name in ("a", "b", "c"):
        append(tmp_path, name)
        assert users(early) == [name]
    assert users(late) == ["b", "c"]
    DeltaTable(str(tmp_path / EVENTS.name)).optimize.compact()
    append(tmp_path, "d", "e")
    assert users(early) == users(late) == ["d", "e"]
    assert (early.version, late.version) == (4, 4)


def test_a_look_opens_one_file_for_each_new_commit_and_one_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(tmp_path, "a")
    commits = following(tmp_path)
    commits.poll()
    read, opened = ArrowFolder.read, list[str]()

    def counted(folder: ArrowFolder, name: str) -> bytes | None:
        opened.append(name)
        return read(folder, name)

    monkeypatch.setattr(ArrowFolder, "read", counted)
    monkeypatch.setattr(log, "OpenTable", None)
    for name in ("b", "c"):
        append(tmp_path, name)
    assert len(commits.poll()) == 2
    assert opened == [log.file_of(version) for version in (1, 2, 3)]


def test_a_table_that_was_made_anew_is_followed_again(tmp_path: Path) -> None:
    for name in ("a", "b"):
        append(tmp_path, name)
    commits = following(tmp_path)
    assert users(commits) == ["a", "b"]
    shutil.rmtree(tmp_path / EVENTS.name)
    append(tmp_path, "anew")
    assert [user for _ in range(GAP + 1) for user in users(commits)] == ["anew"]


def test_a_follower_stops_at_what_is_gone_from_the_log_and_at_the_version_it_is_told(tmp_path: Path) -> None:
    for number in range(5):
        append(tmp_path, str(number))
    folder = ArrowFolder(file_system(str(tmp_path / EVENTS.name)))
    follower = CommitFollower(folder)
    assert [commit.version for commit in follower.poll(until=1)] == [0, 1]
    tmp_path.joinpath(EVENTS.name, log.file_of(3)).unlink()
    assert [commit.version for commit in follower.poll(until=4)] == [2]
    assert follower.version == 2
    assert log.versions(folder) == [0, 1, 2, 4]
