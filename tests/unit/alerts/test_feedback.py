"""Feedback without Spark."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from alerts import feedback
from features.errors import UsageError
from features.tables import FEEDBACK
from lake import arrow_tables

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def alert(name: str = "a") -> dict[str, object]:
    return {
        "alert_id": name, "user_id": "ada", "session_start": NOON,
        "first_window_start": NOON, "last_window_start": NOON + timedelta(minutes=3),
    }  # fmt: skip


def test_what_was_recorded_is_read_again_and_the_newest_word_counts(tmp_path: Path) -> None:
    root = str(tmp_path)
    feedback.record(root, alert("a"), is_true=True, analyst="eve", note="a bot")
    feedback.record(root, alert("b"), is_true=True)
    last = feedback.record(root, alert("a"), is_true=False)
    found = feedback.newest(root)
    assert {name: row["verdict"] for name, row in found.items()} == {"a": "false", "b": "true"}
    assert found["a"] == last
    assert list(feedback.newest(root, "b")) == ["b"]
    assert arrow_tables.read(root, FEEDBACK).num_rows == 3


def test_without_a_table_there_is_no_feedback(tmp_path: Path) -> None:
    assert feedback.newest(str(tmp_path)) == {}


def test_a_note_that_is_too_long_is_refused_by_its_length(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"note has 2001 characters; needed: at most 2000"):
        feedback.record(str(tmp_path), alert(), is_true=True, note="x" * 2001)
