"""Sending recorded files, or one that grows, to Kafka: one record for every line."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from features.errors import UsageError
from features.sense import Tally
from features.validation import micros
from kafka.pacer import Pacer
from kafka.producer import EventProducer
from replay.file_lines import MAX_LINE, Line, Opened, as_it_is, lines
from replay.formats.base import NOTHING_SAID, EventReader, ReadingOptions, Record
from replay.formats.registry import AUTO, SAMPLE_LINES, reader_of, sample_of
from replay.pseudonyms import pseudonym_key
from replay.sources import Ahead, Followed, files_in, is_stream
from replay.survey import Survey, survey

FIRST_SECONDS = 0.5
EXAMPLE = 160
"""Characters of a line that was not understood, of which one is shown."""


@dataclass
class Replayed:
    """What was sent.

    Attributes:
        lines: records; of these ``raw`` were not understood, and ``cut`` were too long for a record.
        example: the first that was not understood, as it was sent.
        notes: what a person should know of how the files are read.
        tally: what the events say together.
    """

    lines: int = 0
    raw: int = 0
    cut: int = 0
    example: str = ""
    notes: list[str] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)


def replay(
    paths: Path | Sequence[Path],
    producer: EventProducer,
    *,
    rate: float | None = None,
    shift_to_now: bool = False,
    event_ids: bool = False,
    format_name: str = AUTO,
    options: ReadingOptions = NOTHING_SAID,
    follow: bool = False,
    key: Callable[[], bytes] = pseudonym_key,
    stop: threading.Event | None = None,
    opened: Opened = as_it_is,
    told: Callable[[int], object] = lambda _: None,
) -> Replayed:
    """Send each line of files as one record, at ``rate`` lines per second or as fast as the broker takes them.

    ``paths`` are files, folders of files, or ``-`` for standard input; with ``follow`` it is one file, whose further
    lines are waited for until ``stop`` is set. ``format_name`` is one of :data:`replay.formats.registry.NAMES`;
    ``options`` say how a log is to be read; ``key`` gives the key of pseudonyms and is only asked where one is needed.
    ``shift_to_now`` moves all times by one span, see :func:`replay.survey.survey`. ``event_ids`` gives events that have
    none an id of content and line number: sent a second time within the window of de-duplication they are known as
    repeated. ``stop`` ends early. ``opened`` sees each file as it is read, ``told`` how many lines are sent. Returns
    when every record is acknowledged.

    Raises:
        UsageError: a file cannot be read or has no format that is known.
        EnvironmentProblem: the broker is away or does not keep up.
    """
    if rate is not None and rate <= 0:
        raise UsageError(f"The rate must be lines per second above 0; {rate:g} was given.")
    files = _readable(paths, follow=follow, twice=shift_to_now or event_ids)
    stop = stop or threading.Event()
    read = _Reading(format_name, options, key, stop, opened)
    parts = read.parts(files, follow=follow)
    surveys = _surveyed(parts, rate) if shift_to_now or event_ids else [None] * len(parts)
    shift = min((known.shift for known in surveys if known and known.shift is not None), default=None)
    pacer, done = Pacer(rate, stop), Replayed(notes=[note for part in parts for note in part.reader.notes])
    for part, known in zip(parts, surveys, strict=True):
        for number, line in enumerate(part.lines, 1):
            if not pacer.take():
                break
            event_id = known.event_id(number) if known and event_ids else None
            _send(line, part.reader, producer, done, shift if shift_to_now else None, event_id)
            told(done.lines)
    producer.flush()
    return done


def notes_on(
    paths: Sequence[Path],
    *,
    format_name: str,
    options: ReadingOptions,
    follow: bool,
    twice: bool,
    key: Callable[[], bytes],
) -> list[str]:
    """What a person should know of how files will be read, from their first lines; of streams nothing can be told yet.

    Raises:
        UsageError: as :func:`replay` would, ``twice``: for one that reads them twice.
    """
    files = [path for path in _readable(paths, follow=follow, twice=twice) if not is_stream(path)]
    read = _Reading(format_name, options, key, threading.Event(), as_it_is)
    return [note for path in files for note in read.of_file(path).notes if not follow or path.stat().st_size]


def _readable(paths: Path | Sequence[Path], *, follow: bool, twice: bool) -> list[Path]:
    files = files_in([paths] if isinstance(paths, Path) else paths)
    streams = any(map(is_stream, files))
    if (follow or streams) and twice:
        raise UsageError("--shift-to-now and --event-ids read a file twice: neither a stream nor --follow can be.")
    if follow and (len(files) > 1 or streams):
        raise UsageError(f"--follow (FOLLOW=1) takes one file, which a server writes to; {len(files)} were given.")
    return files


def _send(
    line: Line,
    reader: EventReader,
    producer: EventProducer,
    done: Replayed,
    shift: timedelta | None,
    event_id: str | None,
) -> None:
    record = reader.record(line.text, shift, event_id) if line.length <= MAX_LINE else reader.cut(line.text)
    headers = [("cut_from_bytes", str(line.length).encode())] if line.length > MAX_LINE else None
    if headers is None:
        producer.send_raw(record.value, record.key)
    else:
        producer.send_raw(record.value, record.key, headers=headers)
        done.cut += 1
    done.lines += 1
    if record.is_event:
        _count(record, done.tally)
    else:
        done.raw += 1
        done.example = done.example or record.value[:EXAMPLE].decode("utf-8", "replace")


def _count(record: Record, tally: Tally) -> None:
    try:
        event = json.loads(record.value)
    except (ValueError, RecursionError):
        return
    when = event.get("timestamp")
    tally.add(str(event.get("user_id")), str(event.get("action")), micros(when) if isinstance(when, str) else None)


@dataclass
class _Part:
    """A file: what reads it, and its lines."""

    path: Path
    reader: EventReader
    lines: Iterator[Line]


@dataclass(frozen=True)
class _Reading:
    format_name: str
    options: ReadingOptions
    key: Callable[[], bytes]
    stop: threading.Event
    opened: Opened

    def parts(self, files: Sequence[Path], *, follow: bool) -> list[_Part]:
        return [self.followed(files[0])] if follow else [self.part(path) for path in files]

    def part(self, path: Path) -> _Part:
        if is_stream(path):
            return self._of_stream(path, lines(path))
        return _Part(path, self.of_file(path), lines(path, self.opened))

    def of_file(self, path: Path) -> EventReader:
        return self._reader(path, sample_of(lines(path)))

    def followed(self, path: Path) -> _Part:
        there = sample_of(lines(path))
        if there:
            return _Part(path, self._reader(path, there), iter(Followed(path, self.stop)))
        return self._of_stream(path, iter(Followed(path, self.stop)))

    def _of_stream(self, path: Path, content: Iterable[Line]) -> _Part:
        """Of what cannot be read twice, all is told from what comes within a moment of its first line."""
        ahead = Ahead(content)
        return _Part(path, self._reader(path, sample_of(ahead.first(SAMPLE_LINES, FIRST_SECONDS))), iter(ahead))

    def _reader(self, path: Path, sample: Sequence[bytes]) -> EventReader:
        return reader_of(path, sample, self.format_name, self.options, self.key)


def _surveyed(parts: Sequence[_Part], rate: float | None) -> list[Survey | None]:
    found: list[Survey | None] = []
    before, now = 0, datetime.now(UTC)
    for part in parts:
        known = survey(part.path, part.reader, now, rate, before)
        before += known.lines
        found.append(known)
    return found
