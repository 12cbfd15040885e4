"""What the user asked of a run on the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from replay.formats.base import NOTHING_SAID, ReadingOptions
from replay.formats.registry import AUTO
from settings import Settings

HEAD_START_EVENTS = 60_000
HEAD_START_MINUTES = 60.0
"""A first model needs to have seen whole sessions: so much of the past is simulated before live events begin."""


@dataclass(frozen=True)
class RunOptions:
    """The command line of ``make run``.

    Attributes:
        inputs: files that are replayed in place of simulated users; none: users are simulated.
        follow: further lines of the one file are waited for.
    """

    duration: float | None
    inputs: tuple[Path, ...]
    rate: float | None
    shift_to_now: bool
    seed: int
    local: Path
    format_name: str = AUTO
    reading: ReadingOptions = NOTHING_SAID
    follow: bool = False

    @property
    def pace(self) -> float:
        """Simulated events per second."""
        return self.rate or 100.0

    @property
    def head_start(self) -> float:
        """Minutes of the past that are simulated first."""
        return min(HEAD_START_MINUTES, HEAD_START_EVENTS / self.pace / 60)

    def simulates(self, settings: Settings) -> bool:
        """Whether the run makes up its users: not into a Kafka of somebody's own."""
        return not self.inputs and settings.kafka.embedded

    def page_stays(self, *, is_watched: bool) -> bool:
        """Whether the page is kept once all of the inputs is scored: somebody looks on, and did not say when to end."""
        return is_watched and bool(self.inputs) and not self.follow and self.duration is None

    @property
    def label_file(self) -> Path:
        """Who of the simulated users is strange."""
        return self.local / "labels.csv"
