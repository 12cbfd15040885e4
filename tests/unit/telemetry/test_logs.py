"""Logs have an end, whatever others send."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from telemetry import logs


def lines_of(spare: logging.Filter, texts: list[str], place: int = 1) -> list[str]:
    """The texts that pass, each logged at a line of the code."""
    found = []
    for text in texts:
        record = logging.LogRecord("uvicorn", logging.WARNING, "file.py", place, "%s", (text,), None)
        if spare.filter(record):
            found.append(record.getMessage())
    return found


def test_of_one_place_some_lines_a_minute_pass_and_the_next_says_how_many_did_not() -> None:
    now = 0.0
    spare = logs.Sparing(most=2, seconds=60, clock=lambda: now)
    assert lines_of(spare, ["a", "b", "c", "d", "e"]) == ["a", "b"]
    assert lines_of(spare, ["of another place"], place=2) == ["of another place"]
    now = 61.0
    assert lines_of(spare, ["f", "g", "h"]) == ["f (3 more such lines in the time before)", "g"]


def test_what_another_process_says_is_kept_to_its_end_in_files_of_a_bounded_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "FILE_BYTES", 10_000)
    reading, writing = os.pipe()
    file = tmp_path / "serving.log"
    with os.fdopen(reading, "rb") as said:
        kept = logs.keep(said, file)
    with os.fdopen(writing, "wb") as out:
        out.writelines(b"line %d\n" % number for number in range(10_000))
        out.write(b"x" * 200_000 + b"\nthe end\n")
    kept.join(30)
    assert file.read_text().endswith("the end\n")
    files = list(tmp_path.iterdir())
    assert len(files) == 4
    assert sum(one.stat().st_size for one in files) <= 4 * (10_000 + logs.LINE_BYTES)
