"""The formats that a file may have, and how a file's own is recognized."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from features.errors import UsageError
from replay.file_lines import lines
from replay.formats.access_log import AccessLogReader
from replay.formats.base import EventReader
from replay.formats.json_lines import JsonLinesReader

FORMATS: dict[str, type[EventReader]] = {
    "events": JsonLinesReader,
    "access_log": AccessLogReader,
}
"""By the name that ``--format`` takes. A line belongs to the first that recognizes it; an empty file to the first."""
AUTO = "auto"
NAMES = (AUTO, *FORMATS)
SAMPLE_LINES = 200


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
    if known_format(name) != AUTO:
        return FORMATS[name]
    votes = dict.fromkeys(FORMATS.values(), 0)
    for line in islice((line.text for line in lines(path) if line.text.strip()), SAMPLE_LINES):
        recognized = next((kind for kind in votes if kind.recognizes(line)), None)
        if recognized is not None:
            votes[recognized] += 1
    if any(votes.values()) or next(lines(path), None) is None:
        return max(votes, key=lambda kind: votes[kind])
    *others, last = (kind.title for kind in votes)
    raise UsageError(
        f"{path} is neither {', '.join(others)} nor {last} (plain or gzipped), "
        f"going by its first {SAMPLE_LINES} lines. --format sends it nevertheless."
    )
