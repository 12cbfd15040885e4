"""Frequent paths: kinds of pages that many sessions visit in this order, others may lie between (PrefixSpan)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.ml.fpm import PrefixSpan
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from patterns.transitions import Walk

NEARLY_ALL = 0.9
"""A path of which so many sessions go on to a longer frequent path is left out for the longer one."""
MIN_SESSIONS = 3

Steps = tuple[str, ...]


@dataclass(frozen=True)
class Path:
    """A frequent path: how many sessions have it, and of how many users. ``members`` are places in the sessions."""

    steps: Steps
    sessions: int
    users: int
    lift: float | None
    members: tuple[int, ...]

    @property
    def id(self) -> str:
        """A hash of the steps."""
        return "path-" + hashlib.sha256("\x1f".join(self.steps).encode()).hexdigest()[:12]


def frequent(sequences: DataFrame, sessions: int, share: float, longest: int) -> dict[Steps, int]:
    """Paths of two to ``longest`` steps that at least ``share`` of the ``sessions`` have, with their number.

    ``sequences`` has a column ``steps`` (array of text) and one row per session.
    """
    if sessions < MIN_SESSIONS:
        return {}
    support = max(share, MIN_SESSIONS / sessions)
    elements = sequences.select(F.transform("steps", _alone).alias("sequence"))
    mined = PrefixSpan(minSupport=support, maxPatternLength=longest).findFrequentSequentialPatterns(elements)
    counted = {tuple(element[0] for element in row["sequence"]): int(row["freq"]) for row in mined.collect()}
    return {steps: count for steps, count in counted.items() if len(steps) > 1}


def _alone(step: Column) -> Column:
    """A step as an element of its own: PrefixSpan's sequences are of sets."""
    return F.array(step)


def telling(counts: dict[Steps, int]) -> dict[Steps, int]:
    """The paths without those of which nearly all sessions have a longer one that is there too.

    A kind twice in a row says "several"; three times says no more, and such paths are left out.
    """
    counts = {steps: count for steps, count in counts.items() if not _says_again(steps)}
    kept = dict(counts)
    for longer, count in counts.items():
        for place in range(len(longer)):
            shorter = longer[:place] + longer[place + 1 :]
            if shorter in counts and count >= NEARLY_ALL * counts[shorter]:
                kept.pop(shorter, None)
    return kept


def _says_again(steps: Steps) -> bool:
    return any(steps[place] == steps[place + 1] == steps[place + 2] for place in range(len(steps) - 2))


def contains(steps: Sequence[str], path: Steps) -> bool:
    """Whether the ``path`` is among the ``steps`` in its order."""
    rest = iter(steps)
    return all(step in rest for step in path)


def measured(counts: dict[Steps, int], walks: Sequence[Walk], least_users: int, most: int) -> list[Path]:
    """The ``most`` frequent of the paths that ``least_users`` users have, each with its members among ``walks``.

    Lift is against sessions that have the pages of the path independently of each other; of one kind there is none.
    """
    having: dict[str, set[int]] = {}
    twice: dict[str, int] = {}
    for place, walk in enumerate(walks):
        for step in set(walk.steps):
            having.setdefault(step, set()).add(place)
            twice[step] = twice.get(step, 0) + (walk.steps.count(step) > 1)
    paths: list[Path] = []
    for steps in sorted(counts, key=lambda steps: (-counts[steps], steps)):
        if len(paths) == most:
            break
        candidates = set.intersection(*[having.get(step, set()) for step in set(steps)])
        members = tuple(place for place in sorted(candidates) if contains(walks[place].steps, steps))
        users = len({walks[place].user for place in members})
        if users < least_users:
            continue
        chance = 1.0
        for step in set(steps):
            chance *= (twice[step] if steps.count(step) > 1 else len(having[step])) / len(walks)
        lift = len(members) / (chance * len(walks)) if len(set(steps)) > 1 else None
        paths.append(Path(steps, len(members), users, lift, members))
    return paths
