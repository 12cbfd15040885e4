"""What one reading of a whole file tells before it is sent."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from replay.file_lines import lines
from replay.formats.base import EventReader
from replay.times import is_measurable


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


def survey(path: Path, reader: EventReader, now: datetime, rate: float | None = None, before: int = 0) -> Survey:
    """Read a file once before it is sent.

    The shift is the greatest at which no event is ahead of the clock when it is sent at ``rate`` lines per second:
    at full speed the last event is now; at the pace of the recording or a slower one the first is. ``before`` lines of
    other files are sent first.
    """
    content, number = hashlib.sha256(), 0
    headroom: timedelta | None = None
    for number, line in enumerate(lines(path), 1):
        content.update(b"%d:" % line.length + line.text)
        when = reader.time(line.text)
        if when is not None and is_measurable(when):
            due = now + timedelta(seconds=(before + number - 1) / rate if rate else 0.0)
            headroom = due - when if headroom is None else min(headroom, due - when)
    return Survey(number, content.hexdigest(), headroom)
