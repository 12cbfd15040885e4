"""What a simulated site is: its pages and steps, who visits it, and how visits become events.

The engine knows people by their roles alone, so each site has its own pages, names of actions, habits and personas.
Nothing here knows what a detector measures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Persona:
    """A kind of visitor.

    ``share`` of all users, ``visits`` relative visits per user and time. People: ``events`` is the median number
    of events of a visit, ``pace`` multiplies the stays of the site's steps. Programs (``is_program``): ``per_minute``
    is the median rate, ``minutes`` the median length of a visit and ``jitter`` the median sigma of the logarithm of
    its pauses. ``*_spread`` is the sigma of a value's logarithm. ``starts`` and ``leanings`` are relative odds by
    names of the site's own: its steps, or what a visit there is made of.

    ``role`` tells the engine about a life that is more than visits: ``joins`` (new in the course of the scenario),
    ``crowd`` (comes when a campaign calls), ``victim`` (is taken over at some moment).
    """

    name: str
    share: float
    visits: float
    starts: Mapping[str, float]
    is_anomalous: bool = False
    is_program: bool = False
    role: str = ""
    leanings: Mapping[str, float] = field(default_factory=dict)
    events: float = 8.0
    events_spread: float = 1.0
    longest: int = 200
    bounces: float = 0.2
    pace: float = 1.0
    pace_spread: float = 0.5
    own_hours: float = 0.8
    faithful: float = 0.5
    per_minute: float = 0.0
    per_minute_spread: float = 0.6
    minutes: float = 0.0
    minutes_spread: float = 0.7
    jitter: float = 0.3
    jitter_spread: float = 0.5
    stays_on_page: bool = False
    walks_catalogue: bool = False


@dataclass(frozen=True)
class Step:
    """An action on a page or a kind of page; ``dwell`` is the median stay in seconds, ``spread`` how it varies."""

    name: str
    action: str
    page: int
    dwell: float
    spread: float


@dataclass(frozen=True)
class Population:
    """Users as columns. ``pace``: factor on a person's stays, or a program's mean pause in seconds.

    ``visits`` is how often a user comes against others, ``events`` the mean number of events of a visit.
    ``moment`` in [0, 1] is when a user's one event in life happens (joins, is taken over), as a share of the horizon.
    """

    names: list[str]
    persona: Ints
    pace: Floats
    jitter: Floats
    visits: Floats
    events: Floats
    favourite: Ints
    hour: Floats
    own_hours: Floats
    platform: Ints
    sends_session: Ints
    moment: Floats
    start_item: Ints
    stride: Ints


@dataclass(frozen=True)
class Visits:
    """Visits that begin: who, when (seconds on the scenario's axis), how, and the campaign they follow."""

    user: Ints
    start: Floats
    behaviour: Ints
    campaign: Ints

    def __len__(self) -> int:
        return len(self.user)

    def take(self, which: Ints | Bools) -> Visits:
        """The visits at these places."""
        return Visits(self.user[which], self.start[which], self.behaviour[which], self.campaign[which])

    @staticmethod
    def of(user: Ints, start: Floats, behaviour: Ints | int, campaign: int = 0) -> Visits:
        """Visits of these users, all in one way or each in a way of its own."""
        size = len(user)
        return Visits(user, start, np.broadcast_to(behaviour, size).astype(np.int64), np.full(size, campaign, np.int64))

    @staticmethod
    def together(*parts: Visits) -> Visits:
        """These visits in one."""
        return Visits(
            np.concatenate([part.user for part in parts]),
            np.concatenate([part.start for part in parts]),
            np.concatenate([part.behaviour for part in parts]),
            np.concatenate([part.campaign for part in parts]),
        )


@dataclass(frozen=True)
class Acts:
    """Events of visits, flat: index of the visit, seconds, step code and page code."""

    visit: Ints
    seconds: Floats
    step: Ints
    page: Ints

    @staticmethod
    def together(parts: Sequence[Acts]) -> Acts:
        """These events in one."""
        if not parts:
            return Acts(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int64))
        return Acts(
            np.concatenate([part.visit for part in parts]),
            np.concatenate([part.seconds for part in parts]),
            np.concatenate([part.step for part in parts]),
            np.concatenate([part.page for part in parts]),
        )


Walk = Callable[[Visits, Population, np.random.Generator], Acts]
"""Events of people's visits, in any order."""
ProgramPages = Callable[[Visits, Population, Ints, Ints, Ints, np.random.Generator], Ints]
"""Pages of programs' events: of visits, and per event the visit, its place in it and the step."""


@dataclass(frozen=True, eq=False)
class Site:
    """A site: what is there, who comes, and how they act.

    ``pages`` and ``actions`` are in the order of their codes. ``personas`` are its users, and ``honest_but_strange``
    those of them whom a false alarm would hurt; ``intruder`` acts in the name of an account that is taken over, and is
    no user of its own. ``walk`` makes events of people's visits; programs act on a timer, and ``program_pages`` tells
    which page each of their events is on. A person may favour one of the sections, as popular as ``section_ranks``
    says; a program may go through the ``items``, one by one. ``attempts`` are the action and the page of who signs in.
    """

    name: str
    pages: tuple[str, ...]
    actions: tuple[str, ...]
    steps: tuple[Step, ...]
    personas: tuple[Persona, ...]
    honest_but_strange: tuple[Persona, ...]
    intruder: Persona
    campaigns: int
    items: int
    section_ranks: Floats
    walk: Walk
    program_pages: ProgramPages
    attempts: tuple[str, str]

    @cached_property
    def code(self) -> dict[str, int]:
        """A persona's code by its name."""
        return {persona.name: code for code, persona in enumerate(self.personas)}

    @cached_property
    def behaviours(self) -> tuple[Persona, ...]:
        """Ways to act, by code: the personas and, last, the intruder."""
        return (*self.personas, self.intruder)

    @property
    def intruder_code(self) -> int:
        return len(self.personas)

    @cached_property
    def mix(self) -> dict[str, float]:
        """Share of users by persona; any subset with any positive weights can be given instead."""
        return {persona.name: persona.share for persona in self.personas}

    def with_role(self, role: str) -> int:
        """The code of the persona that has this role; each site has one of each."""
        return next(code for code, persona in enumerate(self.personas) if persona.role == role)

    @cached_property
    def acts_strangely(self) -> Bools:
        """Whether what is done is strange, by behaviour: the owner of a taken-over account acts as ever."""
        return np.array([one.is_anomalous and one.role != "victim" for one in self.behaviours])

    def is_attempt(self, action: Ints, page: Ints) -> Bools:
        """Whether events are attempts to sign in."""
        of_action, on_page = self.attempts
        found: Bools = (action == self.actions.index(of_action)) & (page == self.pages.index(on_page))
        return found

    @cached_property
    def step_code(self) -> dict[str, int]:
        return {step.name: code for code, step in enumerate(self.steps)}

    @cached_property
    def step_action(self) -> Ints:
        return np.array([self.actions.index(step.action) for step in self.steps])

    @cached_property
    def step_page(self) -> Ints:
        return np.array([step.page for step in self.steps])

    @cached_property
    def first_steps(self) -> Floats:
        """Cumulative odds of the steps a visit begins with, and a program's every step: (behaviours, steps)."""
        return np.stack([self.shares(behaviour.starts) for behaviour in self.behaviours])

    def of_behaviours(self, attribute: str) -> Floats:
        """A figure of every behaviour, by code; 1 and 0 for yes and no."""
        return np.array([getattr(behaviour, attribute) for behaviour in self.behaviours], np.float64)

    def shares(self, weights: Mapping[str, float]) -> Floats:
        """Cumulative probabilities of the steps, shape (steps,), from relative weights by name."""
        odds = np.zeros(len(self.steps))
        for name, weight in weights.items():
            odds[self.step_code[name]] = weight
        cumulative: Floats = np.cumsum(odds / odds.sum())
        cumulative[-1] = 1.0
        return cumulative


def zipf_cumulative(size: int, exponent: float) -> Floats:
    """Cumulative probabilities of ranks 1 to ``size`` under Zipf's law."""
    weights = 1.0 / np.arange(1, size + 1, dtype=np.float64) ** exponent
    cumulative: Floats = np.cumsum(weights / weights.sum())
    cumulative[-1] = 1.0
    return cumulative


def draw(cumulative: Floats, rng: np.random.Generator, size: int) -> Ints:
    """``size`` places, each as likely as these cumulative probabilities say."""
    return np.searchsorted(cumulative, rng.random(size), side="right").astype(np.int64)
