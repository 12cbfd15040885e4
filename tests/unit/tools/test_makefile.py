"""What the make targets call, with stand-ins for the set-up and for Python."""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.paths import PROJECT
from tools import zip_jobs

# Of the make that may have started these tests, too.
LOGS = {"LOG_FORMAT", "CLIENT_FIELD", "TRUSTED_HOPS", "FOLLOW"}
OURS = {"DURATION", "INPUT", "FORMAT", "RATE", "LOCAL", *LOGS, "MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS"}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A clone that is set up, whose Python prints its arguments, one a line."""
    root = tmp_path / "my clone"
    (root / ".venv" / "bin").mkdir(parents=True)
    shutil.copy(PROJECT / "Makefile", root)
    for name in ("setup", ".venv/bin/python"):
        (root / name).write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n', encoding="utf-8")
        (root / name).chmod(0o755)
    return root


def make(root: Path, *arguments: str, **env: str) -> list[str]:
    kept = {name: value for name, value in os.environ.items() if name not in OURS}
    command = ["make", "--no-print-directory", "PYTHON=./setup", *arguments]
    run = subprocess.run(command, cwd=root, env={**kept, **env}, capture_output=True, text=True, check=True)
    return run.stdout.splitlines()


SET_UP = ["-m", "tools.bootstrap"]
RUN = [*SET_UP, "-m", "jobs.run_pipeline", "--env", "local", "--local"]


def test_run_passes_on_only_what_is_given(checkout: Path) -> None:
    assert make(checkout, "run") == [*RUN, ".local"]


def test_values_may_have_blanks_and_quotes(checkout: Path) -> None:
    given = ["DURATION=60", "RATE=5", "LOCAL=my dir", "INPUT=it's a log.gz", "FORMAT=access_log"]
    expected = [*RUN, "my dir", "--duration", "60", "--input", "it's a log.gz", "--format", "access_log", "--rate", "5"]
    assert make(checkout, "run", *given) == expected
    assert make(checkout, "run", **dict(one.split("=") for one in given)) == expected


def test_a_logs_format_string_keeps_its_dollars(checkout: Path) -> None:
    text = '$remote_addr - [$time_local] "$request" %h'
    given = [f"LOG_FORMAT={text}", "CLIENT_FIELD=forwarded", "TRUSTED_HOPS=2", "FOLLOW=1"]
    ways = ["--log-format", text, "--client-field", "forwarded", "--trusted-hops", "2", "--follow"]
    assert make(checkout, "run", *given) == [*RUN, ".local", *ways]
    assert make(checkout, "run", **dict(one.split("=") for one in given)) == [*RUN, ".local", *ways]


def test_the_page_of_an_earlier_run(checkout: Path) -> None:
    assert make(checkout, "page", "LOCAL=my dir") == [
        *SET_UP, "-m", "serving", "--env", "local", "--local", "my dir", "--any-port",
    ]  # fmt: skip


def test_a_file_local_mk_keeps_settings(checkout: Path) -> None:
    (checkout / "local.mk").write_text("LOCAL = /data/behavior\n", encoding="utf-8")
    assert make(checkout, "run") == [*RUN, "/data/behavior"]


def test_programs_keep_what_they_compile_whatever_the_environment_says(checkout: Path) -> None:
    (checkout / ".venv/bin/python").write_text("#!/bin/sh\nenv\n", encoding="utf-8")
    told = make(checkout, "run", PYTHONDONTWRITEBYTECODE="1", KEPT="1")
    assert "KEPT=1" in told
    assert not [line for line in told if line.startswith("PYTHONDONTWRITEBYTECODE")]


def test_help_names_every_target(checkout: Path) -> None:
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    targets = next(line for line in makefile.splitlines() if line.startswith(".PHONY")).split()[1:]
    shown = [line.split()[1] for line in make(checkout) if line.startswith("  make ")]
    assert sorted(shown) == sorted(targets)


def test_the_zip_has_the_packages_and_is_the_same_each_time(tmp_path: Path) -> None:
    for name in ("features/__init__.py", "conf/base.yaml", "jobs/__pycache__/x.pyc", "tests/test_x.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name, encoding="utf-8")
    first = zip_jobs.build(tmp_path).read_bytes()
    os.utime(tmp_path / "conf" / "base.yaml", (1, 1))
    assert zip_jobs.build(tmp_path).read_bytes() == first
    with zipfile.ZipFile(tmp_path / zip_jobs.TARGET) as archive:
        assert archive.namelist() == ["features/__init__.py", "conf/base.yaml"]
