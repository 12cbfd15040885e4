"""Runs every suite on this commit, two at a time, and says what passed (``make test-all``): what a release needs.

Each file with slow tests is a suite, and so are ``make test``, ``make test-cluster`` and ``make crash``. The longest
begin first. Each has a log of its own, and a line when it ends; at the end there is a table to put into a note. What
runs by itself leaves a third of two cores idle, so two at a time take two thirds of the time.

    python -m tools.suites [--lanes N] [--logs DIR] [NAME ...]
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
MAKES = re.compile(r"make(?:\[\d+\])?: ")
"""Begins what make itself says, alone or within another."""
MINUTES = {
    "test": 25, "test-cluster": 25, "crash": 30, "test_every_job": 32, "test_beside": 21, "test_forgotten": 14,
    "test_erasure": 12, "test_docs_stack": 12, "test_maintenance": 8, "test_commits": 7, "test_training": 6,
    "test_kafka": 6, "test_parity": 5,
}  # fmt: skip
"""About how long some take alone on two cores, so that the longest begin first; all others take less."""


@dataclass(frozen=True)
class Suite:
    """A name, and the words for ``make`` that run it."""

    name: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class Result:
    """How a suite ended: the exit code, its last line and the minutes it took."""

    suite: Suite
    code: int
    said: str
    minutes: float

    def line(self) -> str:
        return f"| {self.suite.name} | {'passed' if self.code == 0 else 'FAILED'} | {self.said} | {self.minutes:.0f} |"


def suites() -> list[Suite]:
    """All of them, the longest first."""
    found = [Suite(target, (target,)) for target in ("test", "test-cluster", "crash")]
    for file in sorted((PROJECT / "tests").rglob("test_*.py")):
        inside = file.relative_to(PROJECT)
        if "mark.slow" in file.read_text(encoding="utf-8") and inside.parts[1] != "cluster":
            found.append(Suite(file.stem, ("test-slow", f"FILES={inside}")))
    return sorted(found, key=lambda suite: -MINUTES.get(suite.name, 0))


def run(suite: Suite, logs: Path) -> Result:
    """Run a suite to its end; its output goes to ``logs``/NAME.log."""
    began, log, temporary = time.monotonic(), logs / f"{suite.name}.log", logs / "temporary"
    temporary.mkdir(parents=True, exist_ok=True)
    command = ["make", "--no-print-directory", *suite.words, f"ARGS=-q --basetemp '{temporary / suite.name}'"]
    with log.open("wb") as out:
        code = subprocess.run(
            command, cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=False
        ).returncode
    said = log.read_text(encoding="utf-8", errors="replace").splitlines()
    lines = [line for line in said if line.strip() and not MAKES.match(line)]
    return Result(suite, code, lines[-1].strip("= ") if lines else "nothing", (time.monotonic() - began) / 60)


def commit() -> str:
    """The commit that is tested, and whether something was changed since."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=PROJECT, capture_output=True, text=True, check=True).stdout.strip()

    return git("rev-parse", "--short", "HEAD") + (", with changes in no commit" if git("status", "--short") else "")


def main() -> int:
    """Run them; 1 where one has failed."""
    known = suites()
    parser = argparse.ArgumentParser(description="Run every suite on this commit.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"only these: {', '.join(one.name for one in known)}")
    parser.add_argument("--lanes", type=int, default=2, help="how many at a time")
    parser.add_argument("--logs", type=Path, default=PROJECT / ".local" / "suites", help="folder for their output")
    asked = parser.parse_args()
    unknown = sorted(set(asked.names) - {one.name for one in known})
    if unknown:
        parser.error(f"there is no suite {', '.join(unknown)}; there are {', '.join(one.name for one in known)}")
    logs = asked.logs.resolve()
    chosen, tested, results = [one for one in known if not asked.names or one.name in asked.names], commit(), []
    print(f"{len(chosen)} suites on {tested}, {asked.lanes} at a time; output in {logs}", flush=True)
    with ThreadPoolExecutor(asked.lanes) as lanes:
        for done in as_completed([lanes.submit(run, suite, logs) for suite in chosen]):
            results.append(done.result())
            print(results[-1].line(), flush=True)
    print(f"\nOn {tested}:\n\n| suite | | said | minutes |\n|---|---|---|---:|")
    print("\n".join(result.line() for result in sorted(results, key=lambda result: result.suite.name)))
    return int(any(result.code for result in results))


if __name__ == "__main__":
    sys.exit(main())
