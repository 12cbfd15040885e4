"""What is counted: steps that an event fits or not, and funnels of such steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from features.errors import UsageError

FEWEST, MOST = 2, 12
"""Steps of a funnel."""
WILD = "*"


@dataclass(frozen=True)
class Step:
    """What an event must have to be this step; a field that is empty says nothing, alternatives of one field are "or".

    Attributes:
        name: for people.
        actions: names of actions as events have them.
        pages: pages, in which ``*`` stands for any characters.
        outcomes: ``ok`` or ``failed``.
    """

    name: str
    actions: tuple[str, ...] = ()
    pages: tuple[str, ...] = ()
    outcomes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (self.actions or self.pages or self.outcomes):
            raise UsageError(f"Step {self.name!r}: found no action, page or outcome; needed: one of them.")

    def fits(self, action: str, page: str, outcome: str | None) -> bool:
        """Whether an event is this step."""
        return (
            (not self.actions or action in self.actions)
            and (not self.outcomes or outcome in self.outcomes)
            and (not self.pages or any(_fits(pattern, page) for pattern in self.pages))
        )


@dataclass(frozen=True)
class Funnel:
    """Steps that people take one after the other, or, where not ``in_order``, all of in any order.

    Attributes:
        within: how long after the first step the last one counts; None: as long as the session goes on.
    """

    name: str
    steps: tuple[Step, ...]
    within: timedelta | None = None
    in_order: bool = True

    def __post_init__(self) -> None:
        if not FEWEST <= len(self.steps) <= MOST:
            raise UsageError(f"Funnel {self.name!r}: found {len(self.steps)} steps; needed: {FEWEST} to {MOST}.")
        if self.within is not None and self.within <= timedelta():
            raise UsageError(
                f"Funnel {self.name!r}: found a window of {self.within}; needed: one that is longer than 0."
            )
        names = [step.name for step in self.steps]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise UsageError(f"Funnel {self.name!r}: found two steps called {twice!r}; needed: a name for each.")


def step_of(text: str) -> Step:
    """A step as people type it: ``ACTION``, ``ACTION:PAGE`` or ``:PAGE``, alternatives with ``|``.

    Raises:
        UsageError: it says nothing.
    """
    actions, _, pages = text.partition(":")
    return Step(text, _alternatives(actions), _alternatives(pages))


def _alternatives(text: str) -> tuple[str, ...]:
    return tuple(part for part in (each.strip() for each in text.split("|")) if part)


def _fits(pattern: str, page: str) -> bool:
    """By its parts between the stars: the first begins the page, the last ends it, others come in between in turn."""
    first, *rest = pattern.split(WILD)
    if not rest:
        return page == pattern
    if not page.startswith(first):
        return False
    return _follow(page[len(first) :], rest)


def _follow(page: str, parts: Sequence[str]) -> bool:
    *between, last = parts
    for part in between:
        place = page.find(part)
        if place < 0:
            return False
        page = page[place + len(part) :]
    return page.endswith(last)
