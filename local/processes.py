"""Processes beside a run: they have a group of their own, and end when the pipe to their standard input closes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import IO

from settings import PROJECT

STOP_SECONDS = 10.0


def start_beside(
    command: list[str], stdout: int | IO[bytes], stderr: int | IO[bytes], passed: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """``python -m <command> --with-owner`` in the project's folder; it inherits the files ``passed``, by number."""
    return subprocess.Popen(
        [sys.executable, "-m", *command, "--with-owner"],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
        pass_fds=tuple(passed),
    )


def end(process: subprocess.Popen[bytes]) -> None:
    """End it, whatever it does."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
