"""The lines of a file, plain or packed; of an array of JSON values, the values."""

from __future__ import annotations

import bz2
import gzip
import io
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from json import JSONDecodeError, JSONDecoder
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa

from features.errors import BehaviorError, UsageError

MAX_LINE = 900_000
"""Bytes; a longer line cannot be a Kafka record of default size and is cut."""
STDIN = Path("-")
Opened = Callable[[BinaryIO, Path], BinaryIO]
"""Is given a file as it is opened, and gives what is read in its place: so somebody may see how far it is read."""
BUFFER = 1 << 18
_DEEPEST = 4
"""A file may be packed more than once."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_ARRAY = re.compile(rb"\s*(?:\[\s*(?:[{\]]|\Z)|\{\s*\Z)")
"""The first line of an array of objects, or of objects over several lines."""
_BETWEEN = re.compile(r"[\s,\[\]]*")
_NEXT_OBJECT = re.compile(r",?\s*(?=\{)")


class Line(NamedTuple):
    """A line without its line feed, or a value of an array; ``length`` is its real length where ``text`` was cut."""

    text: bytes
    length: int


class _Unpacked(io.RawIOBase):
    """Gives what is unpacked so far, so that a torn file can be read up to where it is torn."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self.read_some = read

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        part = self.read_some(len(buffer))
        buffer[: len(part)] = part
        return len(part)


def _arrow(codec: str) -> Callable[[BinaryIO], Callable[[int], bytes]]:
    def reader(file: BinaryIO) -> Callable[[int], bytes]:
        read: Callable[[int], bytes] = pa.CompressedInputStream(pa.PythonFile(file, mode="r"), codec).read
        return read

    return reader


_PACKINGS: dict[bytes, Callable[[BinaryIO], Callable[[int], bytes]]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file).read1,
    b"BZh": lambda file: bz2.BZ2File(file).read1,
    b"\x28\xb5\x2f\xfd": _arrow("zstd"),
    b"\x04\x22\x4d\x18": _arrow("lz4"),
}
"""What unpacks a file, by its first bytes."""
_DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile, pa.ArrowException, OSError)


def as_it_is(file: BinaryIO, _: Path) -> BinaryIO:
    return file


@contextmanager
def opened(path: Path, seen: Opened = as_it_is) -> Iterator[BinaryIO]:
    """The file, unpacked if its first bytes say so; ``-`` is standard input.

    Raises:
        UsageError: it cannot be read, or is an archive, or text in another encoding than UTF-8.
    """
    with ExitStack() as stack:
        if path == STDIN:
            file: Any = sys.stdin.buffer
        else:
            try:
                file = seen(stack.enter_context(path.open("rb", BUFFER)), path)
            except OSError as error:
                raise UsageError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}.") from None
        begin = file.peek(8)[:8]
        for _ in range(_DEEPEST):
            unpack = next((unpack for magic, unpack in _PACKINGS.items() if begin.startswith(magic)), None)
            if unpack is None:
                break
            file = io.BufferedReader(_Unpacked(unpack(file)), BUFFER)
            begin = file.peek(8)[:8]
        if begin.startswith(b"PK\x03\x04"):
            raise UsageError(f"{path} is a zip archive: unpack it, and give the files in it.")
        if begin.startswith(_UTF_16):
            raise UsageError(f"{path} is UTF-16: iconv -f UTF-16 -t UTF-8 makes a file that can be read.")
        yield file


def lines(path: Path, seen: Opened = as_it_is) -> Iterator[Line]:
    """Every line of a file, blank ones too; what follows the last line feed is a line if it is not empty.

    Of a file that is an array of JSON values, or values over several lines, every value. A byte-order mark, and the
    NULs that a log has where it was emptied while it was written, are left out before the first line.

    Raises:
        UsageError: see :func:`opened`.
        BehaviorError: the file is damaged.
    """
    number = 0
    try:
        with opened(path, seen) as file:
            for line in _units(file):
                number += 1
                yield line
    except _DAMAGED as error:
        raise BehaviorError(
            f"{path} is damaged after line {number}: {str(error).rstrip('.').lower()}. "
            f"{number} lines could be read; get the file again."
        ) from None


def _units(file: BinaryIO) -> Iterator[Line]:
    first = _begin(file)
    if _ARRAY.match(first):
        yield from _values(first, file)
        return
    if first:
        yield _whole(first, file)
    while text := file.readline(MAX_LINE + 1):
        yield _whole(text, file)


def _begin(file: BinaryIO) -> bytes:
    """The first line, without what may stand before it."""
    text = file.readline(MAX_LINE + 1).removeprefix(_BYTE_ORDER_MARK)
    bare = text.lstrip(b"\0")
    if not bare.strip() and bare != text:
        return _begin(file)
    # So few are the frame that a schema registry's serializer puts before a value.
    return bare if len(text) - len(bare) > 4 or (bare[:1] == b"{" and bare[1:2] != b"{") else text


def _whole(text: bytes, file: BinaryIO) -> Line:
    """A line, and past the rest of it where it is too long."""
    length = len(text)
    if length > MAX_LINE and not text.endswith(b"\n"):
        text = text[:MAX_LINE]
        while more := file.readline(MAX_LINE):
            length += len(more)
            if more.endswith(b"\n"):
                length -= 1
                break
        return Line(text, length)
    text = text.removesuffix(b"\n")
    return Line(text, len(text))


def _values(begin: bytes, file: BinaryIO) -> Iterator[Line]:
    """The values of an array, or objects one after the other, as they are written.

    What is no JSON is one value up to where the next object begins.
    """
    text, at, more = begin.decode("latin-1"), 0, True
    decode = JSONDecoder().raw_decode
    while True:
        between = _BETWEEN.match(text, at)
        at = between.end() if between else at
        try:
            _, end = decode(text, at)
        except (JSONDecodeError, RecursionError):
            end = -1
        if more and not at < end < len(text) and len(text) - at <= 2 * MAX_LINE:
            chunk = file.read(BUFFER)
            text, at, more = text[at:] + chunk.decode("latin-1"), 0, bool(chunk)
            continue
        if at >= len(text):
            return
        if end < 0:
            following = _NEXT_OBJECT.search(text, at + 1)
            end = following.start() if following else len(text)
        value = text[at:end].encode("latin-1")
        yield Line(value[:MAX_LINE], len(value))
        at = end
