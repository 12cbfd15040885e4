"""How fast events come and how long they take to their scores, from the newest commits."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

BIN_SECONDS = 10
KEPT_SECONDS = 600
NOW_SECONDS = 30
"""What "now" is: long enough to hold several micro-batches."""


@dataclass
class Series:
    """Numbers with their times, for the last ten minutes."""

    points: deque[tuple[float, float]] = field(default_factory=deque)

    def add(self, at: float, value: float) -> None:
        self.points.append((at, value))

    def since(self, start: float) -> list[float]:
        return [value for at, value in self.points if at > start]

    def forget(self, now: float) -> None:
        while self.points and self.points[0][0] < now - KEPT_SECONDS - BIN_SECONDS:
            self.points.popleft()

    def bins(self, now: float) -> Iterable[list[float]]:
        """The values of each ten seconds of the last ten minutes; the bin that is not over is left out."""
        end = now // BIN_SECONDS * BIN_SECONDS
        count = KEPT_SECONDS // BIN_SECONDS
        bins: list[list[float]] = [[] for _ in range(count)]
        for at, value in self.points:
            place = math.floor((at - end) / BIN_SECONDS) + count
            if 0 <= place < count:
                bins[place].append(value)
        return bins


@dataclass
class Rate:
    """Rows per second."""

    series: Series = field(default_factory=Series)

    def now(self, now: float) -> float:
        return sum(self.series.since(now - NOW_SECONDS)) / NOW_SECONDS

    def history(self, now: float) -> list[float]:
        return [sum(values) / BIN_SECONDS for values in self.series.bins(now)]


@dataclass
class Delay:
    """Seconds from Kafka's receipt of a row's newest event to the moment its score could be read."""

    series: Series = field(default_factory=Series)

    def add(self, at: float, seconds: Iterable[float], most: int = 200) -> None:
        """The rows of one commit; of many, so many of their percentiles stand for all."""
        known = np.array([value for value in seconds if value == value and value >= 0])
        if len(known) > most:
            known = np.percentile(known, np.linspace(0, 100, most))
        for value in known.tolist():
            self.series.add(at, value)

    def now(self, now: float, percent: float) -> float | None:
        """The percentile over the last minute that has any."""
        values = self.series.since(now - 2 * NOW_SECONDS)
        return float(np.percentile(values, percent)) if values else None

    def history(self, now: float) -> list[float]:
        return [float(np.median(values)) if values else math.nan for values in self.series.bins(now)]
