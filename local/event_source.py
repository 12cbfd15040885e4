"""What sends the events of a run on one machine: the simulator or a replayed file, as a process beside it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from features.errors import EnvironmentProblem
from local.processes import end, start_beside
from telemetry.logs import keep


class EventSource:
    """A running ``python -m <command>``, which ends when this process does; with no command, nobody sends."""

    def __init__(self, command: list[str] | None, log_file: Path, passed: Sequence[int] = ()) -> None:
        """``passed`` are files that it inherits, by number; here they are closed."""
        self.log_file = log_file
        self._process: subprocess.Popen[bytes] | None = None
        if command is None:
            return
        self._process = start_beside(command, subprocess.PIPE, subprocess.STDOUT, passed)
        for number in passed:
            os.close(number)
        assert self._process.stdout is not None
        log_file.unlink(missing_ok=True)  # what is told of a failure is of this process
        self._kept = keep(self._process.stdout, log_file)

    @property
    def sends(self) -> bool:
        """Whether there is such a process at all."""
        return self._process is not None

    @property
    def ended(self) -> bool:
        """Whether all is sent.

        :raises EnvironmentProblem: it failed; the message has the end of what it said
        """
        code = self._process.poll() if self._process is not None else None
        if code:
            self._kept.join()
            text = self.log_file.read_text(encoding="utf-8", errors="replace")
            raise EnvironmentProblem(f"The source of events failed: {text.strip()[-600:]}")
        return code is not None

    def stop(self) -> None:
        if self._process is not None:
            end(self._process)
