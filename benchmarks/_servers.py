"""Servers of benchmarks, each in a process group of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError, URLError


@contextmanager
def running(
    command: Sequence[str], log: Path, cwd: Path, ask: Callable[[], object], **environment: str
) -> Iterator[None]:
    """A server that is up and answers when ``ask`` raises no error; it ends with the block. It prints to ``log``."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=cwd, env={**os.environ, "PATH": path, **environment}, stdin=subprocess.DEVNULL,
            stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        _wait_for(ask, process, log)
        yield
    finally:
        os.killpg(process.pid, 15)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()


def _wait_for(ask: Callable[[], object], process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 180
    while time.monotonic() < end and process.poll() is None:
        try:
            ask()
        except (URLError, OSError) as error:
            if isinstance(error, HTTPError) and error.code < 500:
                raise RuntimeError(f"{error.url} answered {error.code}: {error.read().decode()[:500]}") from None
            time.sleep(0.3)
        else:
            return
    raise RuntimeError(f"No answer: {log.read_text(encoding='utf-8', errors='replace')[-1000:]}")


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
