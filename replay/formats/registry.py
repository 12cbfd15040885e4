"""The formats that a file may have, and how a file's own is recognized."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path

from features.errors import UsageError
from replay.file_lines import Line, lines
from replay.formats.access_log import AccessLogReader
from replay.formats.base import NOTHING_SAID, EventReader, ReadingOptions
from replay.formats.json_access_log import JsonAccessLogReader
from replay.formats.json_lines import JsonLinesReader
from replay.formats.w3c_log import W3cLogReader
from replay.pseudonyms import pseudonym_key

FORMATS: dict[str, type[EventReader]] = {
    "json_access_log": JsonAccessLogReader,
    "access_log": AccessLogReader,
    "events": JsonLinesReader,
    "w3c_log": W3cLogReader,
}
"""By the name that ``--format`` takes. A line belongs to the first that recognizes it."""
AUTO = "auto"
NAMES = (AUTO, *FORMATS)
SAMPLE_LINES = 200
CLIP = 160


def known_format(name: str) -> str:
    """The name itself. Raises UsageError where there is no format of this name."""
    if name not in NAMES:
        raise UsageError(f"There is no format {name!r}; needed: one of {', '.join(NAMES)}.")
    return name


def format_of(path: Path, name: str = AUTO) -> type[EventReader]:
    """The format of this name; ``auto``: the one that most of the file's first lines look like.

    Raises:
        UsageError: there is no format of this name, or the lines look like none.
    """
    return FORMATS[name] if known_format(name) != AUTO else format_of_lines(path, sample_of(lines(path)))


def sample_of(found: Iterable[Line]) -> list[bytes]:
    """The first lines that are not blank."""
    return [line.text for line in islice((line for line in found if line.text.strip()), SAMPLE_LINES)]


def format_of_lines(path: Path, sample: Sequence[bytes]) -> type[EventReader]:
    """The format that most lines of a sample look like; of no lines, events.

    Raises:
        UsageError: they look like none.
    """
    votes = dict.fromkeys(FORMATS.values(), 0)
    for line in sample:
        recognized = next((kind for kind in votes if kind.recognizes(line)), None)
        if recognized is not None:
            votes[recognized] += 1
    if any(votes.values()):
        return max(votes, key=lambda kind: votes[kind])
    if not sample:
        return JsonLinesReader
    *others, last = (kind.title for kind in votes)
    raise UsageError(
        f"{path} is neither {', '.join(others)} nor {last} (plain or packed), going by its first {len(sample)} lines. "
        f"The first is {sample[0][:CLIP].decode('utf-8', 'replace')!r}. --log-format (LOG_FORMAT=) takes a log's own "
        "format string as nginx and Apache have them; --format sends the lines nevertheless."
    )


def reader_of(
    path: Path,
    sample: Sequence[bytes],
    name: str = AUTO,
    options: ReadingOptions = NOTHING_SAID,
    key: Callable[[], bytes] = pseudonym_key,
) -> EventReader:
    """What reads a file that begins with these lines.

    Raises:
        UsageError: there is no format of this name, the lines look like none, or lack what the options name.
    """
    if options.log_format is not None:
        kind: type[EventReader] = AccessLogReader
    else:
        kind = FORMATS[name] if known_format(name) != AUTO else format_of_lines(path, sample)
    try:
        return kind(key, options, sample)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
