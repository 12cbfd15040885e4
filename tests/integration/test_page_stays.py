"""``make run INPUT=file`` in a terminal: its page stays when the file is scored, and ``make page`` brings it back."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from tests.integration.whole_run import MORE, until
from tests.paths import PROJECT

pytestmark = [pytest.mark.integration, pytest.mark.slow]


class Terminal:
    """What a program wrote to its terminal so far."""

    def __init__(self, command: list[str]) -> None:
        self._mine, theirs = pty.openpty()
        self.process = subprocess.Popen(
            command, cwd=PROJECT, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)
        self.said = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def says(self, pattern: str) -> re.Match[str]:
        found: list[re.Match[str]] = []

        def is_there() -> bool:
            assert self.process.poll() is None or re.search(pattern, self.said), self.said[-3000:]
            found.extend(filter(None, [re.search(pattern, self.said)]))
            return bool(found)

        until(is_there, pattern)
        return found[0]

    def _read(self) -> None:
        try:
            while said := os.read(self._mine, 65536):
                self.said += said.decode("utf-8", "replace")
        except OSError:  # the other end is closed
            return


@contextmanager
def terminal(*words: str) -> Iterator[Terminal]:
    opened = Terminal([sys.executable, *words])
    try:
        yield opened
    finally:
        if opened.process.poll() is None:
            os.killpg(opened.process.pid, signal.SIGKILL)
            opened.process.wait()


def ctrl_c(program: Terminal) -> int:
    """How it ended."""
    program.process.send_signal(signal.SIGINT)
    return program.process.wait(120)


def test_the_page_of_a_file_stays_until_ctrl_c_and_can_be_brought_back(tmp_path: Path) -> None:
    start = datetime.now(UTC) - timedelta(hours=1)
    file, local = tmp_path / "events.jsonl", tmp_path / "local"
    lines = [
        {
            "user_id": f"user-{number % 30}",
            "action": ("view", "click", "interaction")[number % 3],
            "page": f"/{number % 11}",
            "timestamp": (start + timedelta(seconds=2 * number)).isoformat(),
        }
        for number in range(900)
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    sets = [word for each in MORE for word in ("--set", each)]
    with terminal("-m", "jobs.run_pipeline", "--local", str(local), "--input", str(file), *sets) as run:
        page = run.says(r"The page stays at (http://[\d.:]+/) until Ctrl-C")[1]
        assert "user-minutes" in run.said  # the summary came before
        assert "user-1" in httpx.get(f"{page}users/user-1", timeout=60).text
        assert ctrl_c(run) == 0
    with terminal("-m", "serving", "--local", str(local), "--set", "serving.port=0") as later:
        page = later.says(r"live page: (http://[\d.:]+/)")[1]
        assert "user-1" in httpx.get(f"{page}users/user-1", timeout=60).text
        assert ctrl_c(later) == 0
