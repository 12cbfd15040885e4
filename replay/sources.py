"""Which files are replayed, and streams of lines whose end is waited for."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from features.errors import UsageError
from replay.file_lines import MAX_LINE, STDIN, Line

POLL_SECONDS = 0.25
AHEAD = 10_000
"""Lines that are read ahead at most."""


def files_in(paths: Sequence[Path]) -> list[Path]:
    """The files themselves, those of folders, and those that patterns (``access.log*``) name.

    Of a folder and a pattern the oldest come first: so rotated logs are in the order of their times.

    Raises:
        UsageError: there is no such file, or nothing is in a folder.
    """
    found: list[Path] = []
    for path in paths:
        if is_stream(path) or path.is_file():
            found.append(path)
            continue
        inside = path.iterdir() if path.is_dir() else path.parent.glob(path.name)
        files = [file for file in inside if file.is_file() and not file.name.startswith(".")]
        if not files and path.is_dir():
            raise UsageError(f"{path} is a folder without files.")
        if not files:
            raise UsageError(f"{path} cannot be read: no such file or directory.")
        found += sorted(files, key=lambda file: (file.stat().st_mtime_ns, file.name))
    return found


def is_stream(path: Path) -> bool:
    """Whether it can be read but once: standard input, or a pipe."""
    return path == STDIN or path.is_fifo() or path.is_char_device()


class Followed:
    """The lines of a log that a server writes: those that are there, and each further one, until ``stop`` is set.

    Where the file is rotated, the rest of the old one is read first, then the new one from its start; a file that was
    emptied in place is read from its start, too. A last line without a line feed is still being written, and waits.
    """

    def __init__(self, path: Path, stop: threading.Event) -> None:
        self.path, self.stop = path, stop

    def __iter__(self) -> Iterator[Line]:
        while not self.stop.is_set():
            try:
                file = self.path.open("rb")
            except FileNotFoundError:  # between a rotation and the server's next line
                self.stop.wait(POLL_SECONDS)
                continue
            with file:
                yield from self._lines(file)

    def _lines(self, file: BinaryIO) -> Iterator[Line]:
        begun = b""
        while True:
            # Asked before the last read. A server may write to the old file for a moment more.
            is_over = self.stop.is_set() or (self._is_other(file) and not self.stop.wait(POLL_SECONDS))
            while text := file.readline(MAX_LINE + 1):
                begun += text
                if begun.endswith(b"\n"):
                    line = begun.removesuffix(b"\n")
                    yield Line(line[:MAX_LINE], len(line))
                    begun = b""
            if is_over:
                if begun:
                    yield Line(begun[:MAX_LINE], len(begun))
                return
            self.stop.wait(POLL_SECONDS)

    def _is_other(self, file: BinaryIO) -> bool:
        """Whether the path has another file now, or the file was emptied."""
        ours = os.fstat(file.fileno())
        try:
            there = self.path.stat()
        except FileNotFoundError:  # moved away; the server writes on, until it opens the new one
            return False
        return (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino) or there.st_size < file.tell()


class Ahead:
    """Lines of a stream that may be long in coming, read in a thread, so that the first can be looked at in time."""

    def __init__(self, content: Iterable[Line]) -> None:
        self._queue: queue.Queue[Line | BaseException | None] = queue.Queue(AHEAD)
        self._begun: list[Line] = []
        self._is_over = False
        threading.Thread(target=self._read, args=(content,), daemon=True, name="lines ahead").start()

    def first(self, count: int, seconds: float) -> list[Line]:
        """The first lines: at least one, however long that takes, and what comes in the next seconds; or all.

        They are among those of :meth:`__iter__`, too.
        """
        until = None
        while len(self._begun) < count and not self._is_over:
            try:
                left = None if until is None else max(0.0, until - time.monotonic())
                line = self._next(left)
            except queue.Empty:
                break
            if line is not None:
                self._begun.append(line)
                until = until or time.monotonic() + seconds
        return list(self._begun)

    def __iter__(self) -> Iterator[Line]:
        yield from self._begun
        self._begun.clear()
        while not self._is_over:
            line = self._next(None)
            if line is not None:
                yield line

    def _next(self, seconds: float | None) -> Line | None:
        found = self._queue.get(timeout=seconds)
        if isinstance(found, BaseException):
            raise found
        self._is_over = found is None
        return found

    def _read(self, content: Iterable[Line]) -> None:
        try:
            for line in content:
                self._queue.put(line)
            self._queue.put(None)
        except BaseException as error:  # noqa: BLE001 - whoever takes the lines is told
            self._queue.put(error)
