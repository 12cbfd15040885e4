"""Laws of the archive of Java's classes: used where it fits, and never a reason to fail."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from spark import class_data
from spark.java import java_program


@pytest.fixture
def jar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A connector of a project without an archive."""
    monkeypatch.setattr(class_data, "PROJECT", tmp_path)
    jar = tmp_path / "connector.jar"
    jar.write_bytes(b"classes")
    return jar


def test_an_archive_is_used_once_it_is_made_and_another_jar_asks_for_another(jar: Path) -> None:
    assert class_data.options([str(jar)]) == []
    made = class_data.archive([str(jar)])
    assert made is not None
    made.parent.mkdir(parents=True)
    made.write_bytes(b"")
    assert class_data.options([str(jar)])[0] == f'"-XX:SharedArchiveFile={made}"'
    jar.write_bytes(b"newer classes")
    assert class_data.options([str(jar)]) == []


def test_an_archive_that_java_cannot_use_stops_nothing_and_is_not_spoken_of(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jsa"
    broken.write_bytes(b"no archive" * 1000)
    command = [java_program(), f"-XX:SharedArchiveFile={broken}", *class_data.QUIET, "-version"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "")
    assert "archive" not in run.stderr
