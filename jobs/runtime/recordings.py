"""Files of events: telling their format, reading their lines, and moving their times without touching the rest."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

from features.errors import BehaviorError, UsageError
from jobs.runtime.access_log import AccessLog, is_access_log

LONGEST_LINE = 900_000
"""Bytes; a longer line cannot be a Kafka record of default size and is cut."""
LONGEST_KEY = 65_536
LINES_TO_JUDGE = 200
MEASURABLE = (datetime(2000, 1, 1, tzinfo=UTC), timedelta(days=1))
"""Times before this day, or later than this after now, are mistakes: they say nothing about a file's span."""

_STRICT_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)")
_BLANKS = re.compile(r"[ \t\n\r]*")
_value = json.JSONDecoder().raw_decode
_encode = json.JSONEncoder(check_circular=False, separators=(",", ":")).encode


class Format(StrEnum):
    """What a file holds."""

    AUTO = "auto"
    EVENTS = "events"
    ACCESS_LOG = "access_log"


class Line(NamedTuple):
    """A line without its line feed; ``length`` is its real length where ``text`` was cut."""

    text: bytes
    length: int


class Record(NamedTuple):
    """What goes to Kafka for a line. ``is_event`` is False where the line was not understood and is sent as it is."""

    value: bytes
    key: bytes | None
    is_event: bool


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
            while text := file.readline(LONGEST_LINE + 1):
                number += 1
                length = len(text)
                if length > LONGEST_LINE and not text.endswith(b"\n"):
                    text = text[:LONGEST_LINE]
                    while more := file.readline(LONGEST_LINE):
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


def detect(path: Path) -> Format:
    """What a file holds, judged by its first lines. Raises UsageError where it is neither format."""
    events = log = 0
    for line in islice((line.text for line in lines(path) if line.text.strip()), LINES_TO_JUDGE):
        if line.lstrip(b"\xef\xbb\xbf \t").startswith(b"{"):
            events += 1
        elif is_access_log(line.removeprefix(b"\xef\xbb\xbf")):
            log += 1
    if events == log == 0:
        if next(lines(path), None) is None:
            return Format.EVENTS
        raise UsageError(
            f"{path} is neither JSON lines in the event contract nor an access log in combined format "
            f"(plain or gzipped), judged by its first {LINES_TO_JUDGE} lines. --format sends it nevertheless."
        )
    return Format.ACCESS_LOG if log > events else Format.EVENTS


def reader(kind: Format, key: Callable[[], bytes]) -> Reader:
    """How to read a file of this kind; ``key`` gives the key of pseudonyms and is only asked where one is needed."""
    return AccessLogReader(AccessLog(key())) if kind is Format.ACCESS_LOG else EventReader()


class Reader:
    """Turns a line into the record that is sent."""

    def record(self, line: bytes, shift: timedelta | None = None, event_id: str | None = None) -> Record:
        """The record of a line, its times moved by ``shift``, with this event id where it has none."""
        raise NotImplementedError

    def time(self, line: bytes) -> datetime | None:
        """When the line's event was; None where that cannot be told."""
        raise NotImplementedError


class AccessLogReader(Reader):
    """Lines of a web server's log, each turned into an event; what is no log line is sent as it is."""

    def __init__(self, log: AccessLog) -> None:
        self.log = log

    def record(self, line: bytes, shift: timedelta | None = None, event_id: str | None = None) -> Record:
        event = self.log.event(line.removeprefix(b"\xef\xbb\xbf"), shift)
        if event is None:
            return Record(line, None, False)
        if event_id is not None:
            event["event_id"] = event_id
        return Record(_encode(event).encode(), str(event["user_id"]).encode(), True)

    def time(self, line: bytes) -> datetime | None:
        event = self.log.event(line.removeprefix(b"\xef\xbb\xbf"))
        return None if event is None else datetime.fromisoformat(str(event["timestamp"]))


class EventReader(Reader):
    """JSON lines: the bytes as they are; where a time is moved or an event id put in, nothing else changes."""

    def record(self, line: bytes, shift: timedelta | None = None, event_id: str | None = None) -> Record:
        event = _object(line)
        if event is None:
            return Record(line, None, False)
        if shift is not None:
            line = shifted(line, shift)
        if event_id is not None and event and "event_id" not in event:
            brace = line.index(b"{") + 1
            line = line[:brace] + b'"event_id":"%s",' % event_id.encode() + line[brace:]
        return Record(line, _key(event.get("user_id")), True)

    def time(self, line: bytes) -> datetime | None:
        event = _object(line)
        return None if event is None else _strict_time(event.get("timestamp"))


def _object(line: bytes) -> dict[str, object] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _key(user: object) -> bytes | None:
    if not isinstance(user, str):
        return None
    try:
        key = user.encode()
    except UnicodeEncodeError:
        return None
    return key if 0 < len(key) <= LONGEST_KEY else None


def _strict_time(text: object) -> datetime | None:
    if not isinstance(text, str) or not _STRICT_TIME.fullmatch(text):
        return None
    try:
        when = datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return when if _is_measurable(when) else None


def _is_measurable(when: datetime) -> bool:
    return MEASURABLE[0] <= when <= datetime.now(UTC) + MEASURABLE[1]


def shifted(line: bytes, shift: timedelta) -> bytes:
    """A JSON object's line with ``timestamp`` and ``sent_at`` moved, every other byte as it was.

    Times that are not valid in the contract, or far out of range, are left alone, so that they are judged as they are.
    """
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return line
    for begin, end, value in sorted(_spans(text), reverse=True):
        when = _strict_time(value)
        if when is not None:
            moved = (when + shift).isoformat().replace("+00:00", "Z")
            text = f'{text[:begin]}"{moved}"{text[end:]}'
    return text.encode()


def _spans(text: str) -> list[tuple[int, int, object]]:
    """Begin, end and value of the two times on the object's own level, by walking over its members."""
    found: dict[str, tuple[int, int, object]] = {}
    try:
        at = _skip(text, 0)
        if text[at] != "{":
            return []
        at = _skip(text, at + 1)
        while text[at] == '"':
            name, at = _value(text, at)
            begin = _skip(text, _skip(text, at) + 1)
            value, at = _value(text, begin)
            if name in ("timestamp", "sent_at"):
                found[name] = (begin, at, value)
            at = _skip(text, at)
            if text[at] != ",":
                break
            at = _skip(text, at + 1)
    except (ValueError, IndexError, RecursionError):
        return []
    return list(found.values())


def _skip(text: str, at: int) -> int:
    match = _BLANKS.match(text, at)
    return match.end() if match else at


@dataclass(frozen=True)
class Survey:
    """What one reading of a whole file tells: its lines, a digest of its content, and how far to move its times.

    ``shift`` is None where no line has a time.
    """

    lines: int
    digest: str
    shift: timedelta | None

    def event_id(self, number: int) -> str:
        """An id for line ``number``: the same for the same content, in the form of a UUID of version 8."""
        drawn = hashlib.sha256(f"{self.digest}:{number}".encode()).hexdigest()
        return f"{drawn[:8]}-{drawn[8:12]}-8{drawn[13:16]}-a{drawn[17:20]}-{drawn[20:32]}"


def survey(path: Path, reading: Reader, now: datetime, rate: float | None = None) -> Survey:
    """Read a file once before it is sent.

    The shift is the greatest at which no event is ahead of the clock when it is sent at ``rate`` lines per second:
    at full speed the last event is now; at the pace of the recording or a slower one the first is.
    """
    content, number = hashlib.sha256(), 0
    headroom: timedelta | None = None
    for number, line in enumerate(lines(path), 1):
        content.update(b"%d:" % line.length + line.text)
        when = reading.time(line.text)
        if when is not None and _is_measurable(when):
            due = now + timedelta(seconds=(number - 1) / rate if rate else 0.0)
            headroom = due - when if headroom is None else min(headroom, due - when)
    return Survey(number, content.hexdigest(), headroom)
