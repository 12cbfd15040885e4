"""The lines of a file, plain or gzipped."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from features.errors import BehaviorError, UsageError

MAX_LINE = 900_000
"""Bytes; a longer line cannot be a Kafka record of default size and is cut."""


class Line(NamedTuple):
    """A line without its line feed; ``length`` is its real length where ``text`` was cut."""

    text: bytes
    length: int


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The file, unpacked if its first bytes say gzip."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}.") from None
    with file:
        packed = file.peek(2)[:2] == b"\x1f\x8b"
        yield io.BufferedReader(_Unpacked(gzip.GzipFile(fileobj=file)), 1 << 18) if packed else file


class _Unpacked(io.RawIOBase):
    """Gives what is unpacked so far, so that a torn file can be read up to where it is torn."""

    def __init__(self, packed: gzip.GzipFile) -> None:
        self.packed = packed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        part = self.packed.read1(len(buffer))
        buffer[: len(part)] = part
        return len(part)


def lines(path: Path) -> Iterator[Line]:
    """Every line of a file, blank ones too; what follows the last line feed is a line if it is not empty."""
    number = 0
    try:
        with opened(path) as file:
            while text := file.readline(MAX_LINE + 1):
                number += 1
                length = len(text)
                if length > MAX_LINE and not text.endswith(b"\n"):
                    text = text[:MAX_LINE]
                    while more := file.readline(MAX_LINE):
                        length += len(more)
                        if more.endswith(b"\n"):
                            length -= 1
                            break
                    yield Line(text, length)
                    continue
                text = text.removesuffix(b"\n")
                yield Line(text, len(text))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BehaviorError(
            f"{path} is damaged after line {number}: {str(error).rstrip('.').lower()}. "
            f"{number} lines could be read; get the file again."
        ) from None
