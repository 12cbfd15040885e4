"""What the parts of a day's mining share: options, what is known from earlier days, and a sample of sessions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from patterns.transitions import Walk

Row = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """What is looked for, and how much may be held in memory; see ``patterns`` in conf/base.yaml."""

    ignored_actions: tuple[str, ...] = ("asset",)
    min_support: float = 0.02
    longest_path: int = 4
    longest_walk: int = 50
    least_users: int = 3
    max_patterns: int = 50
    max_kinds: int = 30
    max_segments: int = 7
    max_sessions: int = 100_000
    max_learned: int = 20_000
    max_pages: int = 100_000
    examples: int = 3
    time_zone: str = "UTC"
    seed: int = 17


@dataclass(frozen=True)
class Known:
    """A segment of an earlier day; ``acts`` are shares of what its members did, by action and kind of page."""

    unit: str
    segment_id: str
    name: str
    centre: tuple[float, ...]
    first_day: datetime
    members: Mapping[datetime, int]
    acts: Mapping[tuple[str, str], float] = field(default_factory=dict)


@dataclass(frozen=True)
class Earlier:
    """What was found on the days before: kinds of pages, and counts by day (``days``: sessions mined, and units)."""

    page_kinds: tuple[str, ...] = ()
    days: Mapping[datetime, Mapping[str, int]] = field(default_factory=dict)
    paths: Mapping[str, Mapping[datetime, int]] = field(default_factory=dict)
    segments: tuple[Known, ...] = ()


@dataclass(frozen=True)
class Sample:
    """Sessions of some users, in the driver: whose, when, the steps, and whether they were scored and flagged."""

    users: list[str]
    starts: list[datetime]
    walks: list[Walk]
    scored: list[bool]
    flagged: list[bool]


def shares(share: float, before: float | None, trend: str, flagged: int, scored: int) -> Row:
    """The columns that patterns and segments have in common."""
    return {
        "share": share,
        "share_before": before,
        "trend": trend,
        "flagged_share": flagged / scored if scored else None,
    }
