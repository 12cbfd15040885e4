"""Every slow test is in a suite of ``make test-all``, under a name of its own."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.paths import PROJECT
from tools.suites import MINUTES, Suite, run, suites


def test_each_suite_has_a_name_of_its_own_and_the_longest_come_first() -> None:
    names = [suite.name for suite in suites()]
    assert max(Counter(names).values()) == 1
    assert set(MINUTES) <= set(names)
    minutes = [MINUTES.get(name, 0) for name in names]
    assert minutes == sorted(minutes, reverse=True)


@pytest.mark.slow
def test_what_pytest_finds_slow_is_in_one() -> None:
    command = [sys.executable, "-m", "pytest", "tests", "-m", "slow and not cluster", "--collect-only", "-q"]
    said = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    files = {line.partition("::")[0] for line in said.splitlines() if "::" in line}
    assert files
    assert files == {suite.words[1].removeprefix("FILES=") for suite in suites() if len(suite.words) > 1}


@pytest.mark.parametrize(("code", "passed"), [("assert True", True), ("assert False", False)])
def test_a_suite_that_fails_is_told_so(tmp_path: Path, code: str, passed: bool) -> None:
    (tmp_path / "test_it.py").write_text(f"def test_it():\n    {code}\n", encoding="utf-8")
    files = f"--rootdir {tmp_path} -p no:cacheprovider {tmp_path / 'test_it.py'}"
    result = run(Suite("it", ("test", f"FILES={files}")), tmp_path)
    assert (result.code == 0) is passed
    assert f"| it | {'passed' if passed else 'FAILED'} | 1 {'passed' if passed else 'failed'}" in result.line()
    assert "test_it" in (tmp_path / "it.log").read_text(encoding="utf-8") or passed
