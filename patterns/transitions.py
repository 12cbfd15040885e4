"""Steps from one kind of page to the next, against chance.

A session counts once for a step however often it makes it, so that a program that goes round and round is one voice.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

from patterns.pages import END, OTHER, START

SURE = 0.05
MIN_SESSIONS = 5
"""Of fewer no more is said than that they happened: the normal distribution is no guide there."""
HALF = 0.5
"""Added to every count of the fourfold table (Haldane and Anscombe), so that odds of what never happened exist."""
NORMAL_95 = 1.959964


@dataclass(frozen=True)
class Walk:
    """One session: whose, and its steps; ``is_whole`` is false where later steps were left out."""

    user: int
    steps: tuple[str, ...]
    is_whole: bool = True


@dataclass(frozen=True)
class Transition:
    """A row of the transitions table without the day; see :data:`features.tables.TRANSITIONS`."""

    from_page: str
    to_page: str
    sessions: int
    users: int
    probability: float
    expected: float
    lift: float
    odds_ratio: float
    odds_ratio_low: float
    odds_ratio_high: float
    p_value: float
    is_significant: bool


def steps_of(session: Walk, kept: Collection[str]) -> set[tuple[str, str]]:
    """The different steps of a session, with its start and end; kinds that are not ``kept`` are ``(other)``."""
    named = [START, *(step if step in kept else OTHER for step in session.steps)]
    if session.is_whole:
        named.append(END)
    return set(pairwise(named))


def transitions(sessions: Sequence[Walk], most_kinds: int) -> list[Transition]:
    """All steps between the ``most_kinds`` commonest kinds (by sessions), the most made first.

    The odds ratio compares the odds of ``to_page`` after ``from_page`` with those after any other page; its interval is
    Woolf's. Significant is what stays so under Holm's correction for looking at all of them.
    """
    common = Counter(step for session in sessions for step in set(session.steps))
    kept = {kind for kind, _ in sorted(common.items(), key=lambda item: (-item[1], item[0]))[:most_kinds]}
    made: Counter[tuple[str, str]] = Counter()
    by: dict[tuple[str, str], set[int]] = {}
    for session in sessions:
        for step in steps_of(session, kept):
            made[step] += 1
            by.setdefault(step, set()).add(session.user)
    leaving: Counter[str] = Counter()
    entering: Counter[str] = Counter()
    for (source, target), count in made.items():
        leaving[source] += count
        entering[target] += count
    total = sum(made.values())
    rows = [
        _transition(step, count, len(by[step]), leaving[step[0]], entering[step[1]], total)
        for step, count in made.items()
    ]
    return sorted(_corrected(rows), key=lambda row: (-row.sessions, row.from_page, row.to_page))


def _transition(step: tuple[str, str], count: int, users: int, leaving: int, entering: int, total: int) -> Transition:
    both, here, there = count + HALF, leaving - count + HALF, entering - count + HALF
    neither = total - leaving - entering + count + HALF
    log_odds = math.log(both * neither / (here * there))
    error = math.sqrt(1 / both + 1 / here + 1 / there + 1 / neither)
    expected = leaving * entering / total
    return Transition(
        from_page=step[0],
        to_page=step[1],
        sessions=count,
        users=users,
        probability=count / leaving,
        expected=expected,
        lift=count / expected,
        odds_ratio=math.exp(log_odds),
        odds_ratio_low=math.exp(log_odds - NORMAL_95 * error),
        odds_ratio_high=math.exp(log_odds + NORMAL_95 * error),
        p_value=math.erfc(abs(log_odds) / error / math.sqrt(2)),
        is_significant=False,
    )


def _corrected(rows: Sequence[Transition]) -> list[Transition]:
    """Holm's step-down: the smallest p-value against SURE / n, the next against SURE / (n - 1), until one fails."""
    ordered = sorted(rows, key=lambda row: row.p_value)
    sure = 0
    while sure < len(ordered) and ordered[sure].p_value <= SURE / (len(ordered) - sure):
        sure += 1
    return [
        Transition(**{**vars(row), "is_significant": place < sure and row.sessions >= MIN_SESSIONS})
        for place, row in enumerate(ordered)
    ]
