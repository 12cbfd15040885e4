"""The stream of a scenario: visits begin at the rate asked for, and their events come out in order of time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np

from features.errors import UsageError
from simulation.population import mean_events, mean_events_of, populate, rhythm
from simulation.scenario import Scenario
from simulation.site import Bools, Floats, Ints, Population, Visits
from simulation.visits import act

WARM_UP = (300.0, 1200.0)
"""Seconds simulated before the start, so that visits are under way when the stream begins: at least and at most."""
WARM_UP_EVENTS = 1_500_000
"""At high rates the warm-up is cut to about this many events."""
HORIZON = 3600.0
"""Seconds in which the moments of an endless scenario lie: take-overs, new users, the first campaign."""
REST = (300.0, 1500.0)
"""Seconds between a user's visits: at least, and the mean of what is added."""
CHUNK_EVENTS = 15_000
"""Events worth simulating at once; fewer make numpy's overhead felt, more delay the first event."""
FIRST_CAMPAIGN = 0.35
"""When the first campaign begins, as a share of the horizon; others follow an hour after each other."""
CROWD_SHARE = 0.4
"""How much a campaign adds to the rate while its crowd arrives."""


@dataclass(frozen=True)
class Columns:
    """Events as columns in order of time.

    ``user`` is the place in :attr:`Stream.population`, ``millis`` the event time (Unix, ms), ``action`` and
    ``page`` are codes of the site's, ``session`` a number or 0 where the app sends none; ``strange`` tells whether
    somebody acts who should not: of an account that was taken over the intruder alone, and not its owner.
    """

    user: Ints
    millis: Ints
    action: Ints
    page: Ints
    session: Ints
    strange: Bools

    def __len__(self) -> int:
        return len(self.user)

    def take(self, which: Ints | np.ndarray[tuple[int], np.dtype[np.bool_]] | slice) -> Columns:
        """The events at these places."""
        return Columns(*(getattr(self, column.name)[which] for column in fields(self)))

    @staticmethod
    def together(parts: list[Columns]) -> Columns:
        """These events in one."""
        return Columns(*(np.concatenate([getattr(part, c.name) for part in parts]) for c in fields(Columns)))


def warm_up(scenario: Scenario) -> float:
    """Seconds simulated before the start."""
    return min(WARM_UP[1], max(WARM_UP[0], WARM_UP_EVENTS / scenario.rate))


def population_size(scenario: Scenario) -> int:
    """How many users it takes to make the rate: enough for each to rest between visits."""
    if scenario.users is not None:
        return scenario.users
    seconds = min(scenario.seconds, HORIZON) + warm_up(scenario)
    return max(100, math.ceil(1.5 * seconds * scenario.rate / mean_events_of(scenario.shares, scenario.place)))


def moments(scenario: Scenario, population: Population) -> Floats:
    """Seconds after the start at which each user joins (new users) or is taken over; inf: not in this run.

    A short run sees only those whose moment falls into it, and the first of each kind in any case.
    """
    horizon = scenario.seconds if math.isfinite(scenario.seconds) else HORIZON
    moment: Floats = max(horizon, HORIZON) * (0.02 + 0.96 * population.moment)
    moment[moment >= horizon] = np.inf
    for role in ("joins", "victim"):
        first = np.flatnonzero(population.persona == scenario.place.with_role(role))[:1]
        moment[first] = horizon * (0.15 + 0.5 * population.moment[first])
    return moment


class Stream:
    """One run of a scenario. ``columns()`` may be iterated once."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.origin = round(scenario.start.timestamp() * 1000)
        self.site = scenario.place
        self.population = populate(population_size(scenario), scenario.seed, scenario.shares, self.site)
        self.moments = moments(scenario, self.population)
        self.rng = np.random.default_rng([scenario.seed, self.origin, 1])
        self.joins, self.crowd, self.victim = (self.site.with_role(role) for role in ("joins", "crowd", "victim"))
        self.intruder = self.site.intruder_code
        self.warm_up = warm_up(scenario)
        self.free_at = np.full(len(self.population.names), -self.warm_up)
        self.horizon = scenario.seconds if math.isfinite(scenario.seconds) else HORIZON
        self.campaigns = 0
        self.planned = self._life_events()
        self._refuse_impossible_rate()
        self.offsets, self.events_of_visit = self._sample_usual_visits()
        self.planned_rate = self._planned_rate()

    def _users(self, persona: int) -> Ints:
        return np.flatnonzero(self.population.persona == persona)

    def _refuse_impossible_rate(self) -> None:
        """A person makes a few events a minute: a rate beyond what the users can make is refused."""
        if self.scenario.users is None:
            return
        cycle = 20.0 * self.population.events[self.population.visits > 0] + sum(REST)
        most = 0.7 * float((self.population.events[self.population.visits > 0] / cycle).sum())
        if self.scenario.rate > most:
            needed = math.ceil(1.1 * self.scenario.users * self.scenario.rate / most)
            raise UsageError(
                f"{self.scenario.users} users make at most {most:.2g} events per second together, and "
                f"{self.scenario.rate:g} were asked for: take a lower rate or at least {needed} users."
            )

    def _sample_usual_visits(self) -> tuple[Floats, float]:
        """How long after its beginning a visit's events come (sorted seconds), and how many they are on average."""
        rng = np.random.default_rng([self.scenario.seed, 3])
        odds = self.population.visits / self.population.visits.sum() if self.population.visits.any() else None
        if odds is None:
            return np.zeros(1), 1.0
        user = rng.choice(len(odds), 4000, p=odds)
        acts = act(self.site, Visits.of(user, np.zeros(4000), self.population.persona[user]), self.population, rng)
        return np.sort(acts.seconds), len(acts.seconds) / 4000

    def _planned_rate(self) -> float:
        """Events per second that campaigns, new users and take-overs add, on average over the horizon."""
        rng = np.random.default_rng([self.scenario.seed, 4])
        counted = 0.0
        for persona, code, visits in ((self.victim, self.intruder, 1.5), (self.joins, self.joins, 1.0)):
            user = self._users(persona)
            user = user[np.isfinite(self.moments[user])]
            if len(user):
                acts = act(self.site, Visits.of(user, self.moments[user], code), self.population, rng)
                counted += visits * float((acts.seconds < self.horizon).sum())
        crowd, window = self._crowd()
        if crowd:
            between = min(self.horizon, HORIZON)
            arrivals = FIRST_CAMPAIGN * between + rng.exponential(window, crowd)
            visits_of_crowd = Visits.of(self._users(self.crowd)[:crowd], arrivals, self.crowd)
            acts = act(self.site, visits_of_crowd, self.population, rng)
            counted += float((acts.seconds < between).sum()) * self.horizon / between
        return counted / self.horizon

    def _crowd(self) -> tuple[int, float]:
        """How many people a campaign brings, and the mean of the seconds until they come."""
        window = min(180.0, self.horizon / 6)
        size = CROWD_SHARE * self.scenario.rate * window / mean_events(self.site, self.crowd)
        return min(max(1, round(size)), len(self._users(self.crowd))), window

    def _life_events(self) -> Visits:
        """Visits fixed beforehand: new users' first, and the last one of a habit before an account is taken over."""
        new, victims = self._users(self.joins), self._users(self.victim)
        new = new[np.isfinite(self.moments[new])]
        victims = victims[np.isfinite(self.moments[victims])]
        habit = self.rng.uniform(-300.0, np.maximum(self.moments[victims] - 5.0, -299.0))
        return Visits.together(
            Visits.of(new, self.moments[new], self.joins),
            Visits.of(victims, habit, self.victim),
        )

    def _intrusions(self, low: float, high: float) -> Visits:
        """Attacks on the accounts taken over in this time: one at the moment itself, and some later."""
        victims = self._users(self.victim)
        victims = victims[(self.moments[victims] >= low) & (self.moments[victims] < high)]
        again = np.repeat(victims, self.rng.integers(0, 4, len(victims)))
        later = self.moments[again] + 600.0 + self.rng.exponential(2400.0, len(again))
        return Visits.together(
            Visits.of(victims, self.moments[victims], self.intruder), Visits.of(again, later, self.intruder)
        )

    def _crowds(self, high: float) -> Visits:
        """Arrivals after the campaigns that begin in this time: the first early on, then about one an hour."""
        crowd, visits = self._users(self.crowd), Visits.of(np.zeros(0, np.int64), np.zeros(0), 0)
        size, window = self._crowd()
        while size and (begins := FIRST_CAMPAIGN * min(self.horizon, HORIZON) + self.campaigns * HORIZON) < high:
            members = self.rng.permutation(crowd)[:size]
            arrivals = begins + self.rng.exponential(window, len(members))
            campaign = self.campaigns % self.site.campaigns
            visits = Visits.together(visits, Visits.of(members, arrivals, self.crowd, campaign))
            self.campaigns += 1
        return visits

    def _usual(self, low: float, high: float) -> Visits:
        """Ordinary arrivals: as many as the rate needs, by those who are free, at the hours each prefers."""
        population = self.population
        free = (self.free_at <= low) & (population.visits > 0)
        free &= (population.persona != self.joins) | (self.moments <= low)
        at = np.flatnonzero(free)
        hour = ((self.origin / 1000 + (low + high) / 2) / 3600) % 24
        own = population.own_hours[at]
        close = np.exp(own * (np.cos((hour - population.hour[at]) * (np.pi / 12)) - 1)) / (np.i0(own) * np.exp(-own))
        weight = population.visits[at] * close
        target = self._target_rate(low, hour) * (high - low)
        chance = np.zeros(len(at))
        for _ in range(3):
            open_ = chance < 1
            missing = target - float((chance * population.events[at]).sum())
            room = float((weight * population.events[at])[open_].sum())
            if missing <= 0 or room <= 0:
                break
            chance = np.minimum(1.0, chance + np.where(open_, missing / room * weight, 0.0))
        user = at[self.rng.random(len(at)) < chance]
        return Visits.of(user, self.rng.uniform(low, high, len(user)), population.persona[user])

    def _target_rate(self, low: float, hour: float) -> float:
        """Events per second to begin by ordinary arrivals, beside what is planned.

        Until the longest visits are under way, the shorter ones make up for them.
        """
        under_way = float(np.searchsorted(self.offsets, max(low, 0.0) + self.warm_up)) / len(self.offsets)
        base = max(self.scenario.rate - self.planned_rate, 0.3 * self.scenario.rate) / under_way
        if not self.scenario.daily_rhythm:
            return base
        begin = self.scenario.start.hour + self.scenario.start.minute / 60
        span = np.linspace(begin, begin + min(self.horizon / 3600, 24.0), 97)
        return base * float(rhythm(np.array([hour]))[0] / rhythm(span).mean())

    def _events(self, visits: Visits) -> Columns:
        """The events of visits that begin; their users are busy until the last one and a rest."""
        acts = act(self.site, visits, self.population, self.rng)
        user = visits.user[acts.visit]
        ends = visits.start.copy()
        np.maximum.at(ends, acts.visit, acts.seconds)
        np.maximum.at(self.free_at, visits.user, ends + REST[0] + self.rng.exponential(REST[1], len(visits)))
        numbers = self.rng.integers(1, 2**63 - 1, len(visits)) * self.population.sends_session[visits.user]
        millis = self.origin + np.round(acts.seconds * 1000).astype(np.int64)
        strange = self.site.acts_strangely[visits.behaviour][acts.visit]
        return Columns(user, millis, self.site.step_action[acts.step], acts.page, numbers[acts.visit], strange)

    def columns(self) -> Iterator[Columns]:
        """Batches of events in order of time, from the scenario's start to its end."""
        step = min(max(CHUNK_EVENTS / self.scenario.rate, 5.0), 1800.0)
        low, waiting = -self.warm_up, []
        first = self.origin
        last = self.origin + self.scenario.seconds * 1000
        while low < self.scenario.seconds:
            high = 0.0 if low < 0.0 < low + step else min(low + step, self.scenario.seconds)
            extra = [self._intrusions(low, high), self._crowds(high), self.planned]
            planned = Visits.together(*extra)
            due = planned.start < high
            self.planned = planned.take(~due)
            waiting.append(self._events(Visits.together(self._usual(low, high), planned.take(due))))
            events = Columns.together(waiting)
            until = self.origin + high * 1000
            ready = events.millis < until
            waiting = [events.take(~ready)]
            now = events.take(ready & (events.millis >= first) & (events.millis < last))
            yield now.take(np.argsort(now.millis, kind="stable"))
            low = high
