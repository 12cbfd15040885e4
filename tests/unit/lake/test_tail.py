"""What a watcher of a table sees: every appended row once, whatever time it carries, whatever is rewritten beside."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from deltalake import DeltaTable

from features.tables import FEEDBACK, Table
from lake import arrow_tables
from lake.tail import Tail

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TABLE: Table = FEEDBACK


def append(root: Path, name: str, minutes: float) -> None:
    """One commit of one row that was written so many minutes after noon."""
    times = dict.fromkeys(("session_start", "first_window_start", "last_window_start"), NOON)
    row = {
        "feedback_id": name, "alert_id": "a", "user_id": name, "verdict": "true", "note": None, "analyst": None,
        "at": NOON + timedelta(minutes=minutes), **times,
    }  # fmt: skip
    arrow_tables.append(str(root), TABLE, [row])


def following(root: Path) -> Tail:
    tail = Tail(str(root), TABLE, "at")
    tail.skip()
    return tail


def names(tail: Tail) -> list[str]:
    rows = tail.poll(["feedback_id"])
    return [] if rows is None else sorted(rows["feedback_id"].to_pylist())


@pytest.mark.parametrize("clock", [(0, 1, 2), (0, -60, -120), (0, 600, -600), (5, 5, 5)])
def test_every_append_is_seen_once_whatever_the_clock_said_when_it_was_written(
    tmp_path: Path, clock: Sequence[float]
) -> None:
    append(tmp_path, "before", 0)
    tail = following(tmp_path)
    assert names(tail) == []
    for number, minutes in enumerate(clock):
        append(tmp_path, f"row {number}", minutes)
        assert names(tail) == [f"row {number}"]
    append(tmp_path, "one of two", -1)
    append(tmp_path, "two of two", -2)
    assert names(tail) == ["one of two", "two of two"]
    assert names(tail) == []
    assert (tail.rows, tail.newest) == (len(clock) + 3, NOON + timedelta(minutes=max(clock)))


def test_joined_files_bring_no_row_again_and_rows_appended_beside_are_seen(tmp_path: Path) -> None:
    for number in range(3):
        append(tmp_path, f"old {number}", number)
    tail = following(tmp_path)
    append(tmp_path, "new", 1)
    DeltaTable(tail.location.address).optimize.compact()
    append(tmp_path, "newer", -1)
    assert names(tail) == ["new", "newer"]
    assert (tail.rows, tail.rewritten) == (5, False)
    DeltaTable(tail.location.address).vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
    assert names(tail) == []


def test_deleted_rows_are_told_and_not_read_from_the_file_that_still_has_them(tmp_path: Path) -> None:
    append(tmp_path, "stays", 0)
    tail = following(tmp_path)
    append(tmp_path, "erased", 1)
    DeltaTable(tail.location.address).delete("feedback_id = 'erased'")
    assert names(tail) == []
    assert (tail.rows, tail.rewritten) == (1, True)


def test_commits_that_are_gone_from_the_log_are_told_as_a_rewrite(tmp_path: Path) -> None:
    append(tmp_path, "before", 0)
    tail = following(tmp_path)
    for number in range(3):
        append(tmp_path, f"row {number}", number)
    DeltaTable(tail.location.address).create_checkpoint()
    for version in range(4):
        Path(tail.location.address, "_delta_log", f"{version:020d}.json").unlink()
    assert names(tail) == []
    assert (tail.rows, tail.rewritten) == (4, True)
    append(tmp_path, "later", -5)
    assert names(tail) == ["later"]
