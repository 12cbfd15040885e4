"""What a format of files is: it knows its lines, and makes a record for Kafka of each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar, NamedTuple

import orjson

from replay.pseudonyms import pseudonym_key
from replay.times import is_measurable, iso

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""What the first line of a file may begin with."""
MAX_KEY = 65_536


class Record(NamedTuple):
    """What goes to Kafka for a line. ``is_event`` is False where the line was not understood and is sent as it is."""

    value: bytes
    key: bytes | None
    is_event: bool


@dataclass(frozen=True)
class ReadingOptions:
    """What a person may say of a file; None: it is found.

    Attributes:
        log_format: a format string of nginx or Apache.
        client_field: the field of a log that says who asked.
        trusted_hops: proxies of our own that add to X-Forwarded-For.
    """

    log_format: str | None = None
    client_field: str | None = None
    trusted_hops: int | None = None


NOTHING_SAID = ReadingOptions()


class EventReader(ABC):
    """Turns each line of one file, given without its line feed, into the record that is sent.

    Attributes:
        notes: what a person should know of how the file is read, in sentences.
    """

    title: ClassVar[str]
    """The format in words, for sentences."""

    def __init__(
        self,
        key: Callable[[], bytes] = pseudonym_key,
        options: ReadingOptions = NOTHING_SAID,
        sample: Sequence[bytes] = (),
    ) -> None:
        """``sample`` are the file's first lines, for formats that learn from them.

        ``key`` gives the secret of :class:`replay.pseudonyms.Pseudonyms`: who needs it asks at the start.
        """
        self.key = key
        self.options = options
        self.notes = self.learn(sample)

    def learn(self, sample: Sequence[bytes]) -> list[str]:
        """Learn from a file's first lines, before any is read; what a person should know of it, in sentences.

        Raises:
            UsageError: they cannot be read so, or lack what the options name.
        """
        return []

    @staticmethod
    @abstractmethod
    def recognizes(line: bytes) -> bool:
        """Whether a line looks like one of this format: a file's format is told from its first lines."""

    @abstractmethod
    def record(self, line: bytes, shift: timedelta | None = None, event_id: str | None = None) -> Record:
        """The record of a line, its times moved by ``shift``, with this event id where it has none.

        Times that are not measurable (:mod:`replay.times`) stay as they are.
        """

    def cut(self, line: bytes) -> Record:
        """The record of a line that is too long for one, of which this is the beginning."""
        return Record(line, None, False)

    @abstractmethod
    def time(self, line: bytes) -> datetime | None:
        """When the line's event was; None where that cannot be told."""


class LineParser(EventReader):
    """A format with fields of its own: an event is made of each line; what is none is sent as it is."""

    @abstractmethod
    def event(self, line: bytes) -> dict[str, object] | None:
        """The fields of the event in a line; None where the line has none.

        They are those of the event contract, but that ``timestamp`` is a datetime in UTC.
        """

    def record(self, line: bytes, shift: timedelta | None = None, event_id: str | None = None) -> Record:
        event = self.event(line)
        if event is None:
            return Record(line, None, False)
        when = _time(event)
        event["timestamp"] = iso(when + shift if shift is not None and is_measurable(when) else when)
        if event_id is not None:
            event.setdefault("event_id", event_id)
        return Record(orjson.dumps(event), record_key(event["user_id"]), True)

    def time(self, line: bytes) -> datetime | None:
        event = self.event(line)
        return None if event is None else _time(event)


def record_key(user: object) -> bytes | None:
    """The key of a user's records; None where what should name a user cannot be one."""
    if not isinstance(user, str):
        return None
    try:
        key = user.encode()
    except UnicodeEncodeError:
        return None
    return key if 0 < len(key) <= MAX_KEY else None


def _time(event: dict[str, object]) -> datetime:
    when = event["timestamp"]
    assert isinstance(when, datetime)
    return when
