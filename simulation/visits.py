"""From visits to events: many visits at once, as columns.

People are walked step by step through the shop's graph, all of them in one numpy operation per step; programs
act on their timer. Both return flat columns in the order of visits, times in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulation.personas import BEHAVIOURS
from simulation.population import MAX_PROGRAM_VISIT, Population, visit_events, visit_seconds
from simulation.shop import (
    ARTICLE,
    ARTICLE_AT,
    ARTICLE_RANKS,
    CAMPAIGN,
    CAMPAIGN_AT,
    CATEGORY,
    CATEGORY_AT,
    CATEGORY_RANKS,
    HELP,
    HELP_AT,
    HELP_RANKS,
    PRODUCT,
    PRODUCT_AT,
    PRODUCT_RANKS,
    PRODUCTS,
    PRODUCTS_PER_CATEGORY,
    STAY,
    STEP_DWELL,
    STEP_PAGE,
    STEP_SPREAD,
    Floats,
    Ints,
    shares,
    transitions,
)

MAX_PAUSE = 1500.0
"""Seconds; longer stays are left out, a visit would end there."""
DISTRACTED = 0.02
"""Share of steps at which a person turns to something else for some minutes."""

_NEXT = np.stack([transitions(behaviour.leanings) for behaviour in BEHAVIOURS])
_FIRST = np.stack([shares(behaviour.starts) for behaviour in BEHAVIOURS])
_FAITHFUL = np.array([behaviour.faithful for behaviour in BEHAVIOURS])
_IS_PROGRAM = np.array([behaviour.is_program for behaviour in BEHAVIOURS])
_STAYS = np.array([behaviour.stays_on_page for behaviour in BEHAVIOURS])
_WALKS = np.array([behaviour.walks_catalogue for behaviour in BEHAVIOURS])


@dataclass(frozen=True)
class Visits:
    """Visits that begin: who, when (seconds on the scenario's axis), how, and the campaign they follow."""

    user: Ints
    start: Floats
    behaviour: Ints
    campaign: Ints

    def __len__(self) -> int:
        return len(self.user)

    def take(self, which: Ints | np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Visits:
        """The visits at these places."""
        return Visits(self.user[which], self.start[which], self.behaviour[which], self.campaign[which])


@dataclass(frozen=True)
class Acts:
    """Events of visits, flat: index of the visit, seconds, step code and page code."""

    visit: Ints
    seconds: Floats
    step: Ints
    page: Ints


def _draw(cumulative: Floats, rng: np.random.Generator, size: int) -> Ints:
    return np.searchsorted(cumulative, rng.random(size), side="right").astype(np.int64)


class _Pages:
    """Where each visit is: its page, its category and the product it compares with."""

    def __init__(self, rng: np.random.Generator, favourite: Ints, faithful: Floats, campaign: Ints) -> None:
        self.rng = rng
        self.favourite = favourite
        self.faithful = faithful
        self.campaign = campaign
        self.page = np.zeros(len(favourite), dtype=np.int64)
        self.category = self._category(np.arange(len(favourite)))
        self.compared = np.full(len(favourite), -1, dtype=np.int64)

    def _category(self, at: Ints) -> Ints:
        own = self.rng.random(len(at)) < self.faithful[at]
        return np.where(own, self.favourite[at], _draw(CATEGORY_RANKS, self.rng, len(at)))

    def _product(self, at: Ints) -> Ints:
        elsewhere = self.rng.random(len(at)) < 0.15
        category = np.where(elsewhere, _draw(CATEGORY_RANKS, self.rng, len(at)), self.category[at])
        fresh = PRODUCT_AT + category * PRODUCTS_PER_CATEGORY + _draw(PRODUCT_RANKS, self.rng, len(at))
        back = (self.rng.random(len(at)) < 0.15) & (self.compared[at] >= 0)
        page = np.where(back, self.compared[at], fresh)
        self.compared[at] = np.where(self.rng.random(len(at)) < 0.3, page, self.compared[at])
        return page

    def move(self, step: Ints) -> Ints:
        """Pages of the first ``len(step)`` visits after they take these steps."""
        page = self.page
        target = STEP_PAGE[step]
        fixed = np.flatnonzero(target >= 0)
        page[fixed] = target[fixed]
        if (at := np.flatnonzero(target == PRODUCT)).size:
            page[at] = self._product(at)
        if (at := np.flatnonzero(target == CATEGORY)).size:
            self.category[at] = self._category(at)
            page[at] = CATEGORY_AT + self.category[at]
        if (at := np.flatnonzero(target == ARTICLE)).size:
            page[at] = ARTICLE_AT + _draw(ARTICLE_RANKS, self.rng, at.size)
        if (at := np.flatnonzero(target == HELP)).size:
            page[at] = HELP_AT + _draw(HELP_RANKS, self.rng, at.size)
        if (at := np.flatnonzero(target == CAMPAIGN)).size:
            page[at] = CAMPAIGN_AT + self.campaign[at]
        return page[: len(step)]


def people(visits: Visits, population: Population, rng: np.random.Generator) -> Acts:
    """Walk people's visits through the shop. The order of the result is by step, not by time."""
    counts = np.zeros(len(visits), dtype=np.int64)
    for code in np.unique(visits.behaviour):
        at = visits.behaviour == code
        counts[at] = visit_events(BEHAVIOURS[code], rng, int(at.sum()))
    order = np.argsort(-counts, kind="stable")
    counts = counts[order]
    behaviour = visits.behaviour[order]
    own_pace = np.array([BEHAVIOURS[code].pace for code in visits.behaviour]) if len(visits) else np.zeros(0)
    pace = np.where(visits.behaviour < len(BEHAVIOURS) - 1, population.pace[visits.user], own_pace)[order]
    pages = _Pages(rng, population.favourite[visits.user][order], _FAITHFUL[behaviour], visits.campaign[order])
    seconds = visits.start[order].copy()
    step = (_FIRST[behaviour] <= rng.random(len(visits))[:, None]).sum(axis=1)
    active = np.searchsorted(-counts, -np.arange(1, counts.max(initial=0) + 1), side="right")
    columns: list[tuple[Ints, Floats, Ints, Ints]] = []
    for n in active:
        step = step[:n]
        columns.append((order[:n], seconds[:n].copy(), step, pages.move(step).copy()))
        pause = np.exp(STEP_DWELL[step] + STEP_SPREAD[step] * rng.standard_normal(n)) * pace[:n]
        away = np.flatnonzero(rng.random(n) < DISTRACTED)
        pause[away] += rng.exponential(200.0, away.size)
        seconds[:n] += np.clip(pause, 0.15, MAX_PAUSE)
        step = (_NEXT[behaviour[:n], step] <= rng.random(n)[:, None]).sum(axis=1)
    if not columns:
        return Acts(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int64))
    visit, when, steps, where = (np.concatenate(parts) for parts in zip(*columns, strict=True))
    return Acts(visit, when, steps, where)


def programs(visits: Visits, population: Population, rng: np.random.Generator) -> Acts:
    """Run programs' visits on their timers."""
    user, size = visits.user, len(visits)
    seconds = np.zeros(size)
    for code in np.unique(visits.behaviour):
        at = visits.behaviour == code
        seconds[at] = visit_seconds(BEHAVIOURS[code], rng, int(at.sum()))
    period = population.pace[user]
    counts = np.clip(np.round(seconds / period), 1, MAX_PROGRAM_VISIT).astype(np.int64)
    visit = np.repeat(np.arange(size), counts)
    first = np.cumsum(counts) - counts
    place = np.arange(len(visit)) - first[visit]
    jitter = population.jitter[user][visit]
    pause = period[visit] * np.exp(jitter * rng.standard_normal(len(visit)) - jitter**2 / 2)
    rests = np.flatnonzero(rng.random(len(visit)) < 0.01)
    pause[rests] += rng.exponential(30.0, rests.size)
    elapsed = np.cumsum(pause) - pause
    when = visits.start[visit] + elapsed - elapsed[first][visit]
    step = (_FIRST[visits.behaviour][visit] <= rng.random(len(visit))[:, None]).sum(axis=1)
    return Acts(visit, when, step, _program_pages(visits, population, visit, place, step, rng))


def _program_pages(
    visits: Visits, population: Population, visit: Ints, place: Ints, step: Ints, rng: np.random.Generator
) -> Ints:
    target = np.where(STEP_PAGE[step] == STAY, PRODUCT, STEP_PAGE[step])
    size = len(visit)
    catalogue = _draw(CATEGORY_RANKS, rng, size) * PRODUCTS_PER_CATEGORY + _draw(PRODUCT_RANKS, rng, size)
    user = visits.user[visit]
    walked = (population.start_product[user] + place * population.stride[user]) % PRODUCTS
    product = PRODUCT_AT + np.where(_WALKS[visits.behaviour][visit], walked, catalogue)
    page = np.where(target >= 0, target, product)
    category = np.flatnonzero(target == CATEGORY)
    page[category] = CATEGORY_AT + _draw(CATEGORY_RANKS, rng, category.size)
    article = np.flatnonzero(target == ARTICLE)
    page[article] = ARTICLE_AT + _draw(ARTICLE_RANKS, rng, article.size)
    stays = _STAYS[visits.behaviour][visit]
    return np.where(stays, PRODUCT_AT + population.start_product[user], page)


def act(visits: Visits, population: Population, rng: np.random.Generator) -> Acts:
    """All events of these visits."""
    is_program = _IS_PROGRAM[visits.behaviour]
    parts = []
    for which, run in ((~is_program, people), (is_program, programs)):
        at = np.flatnonzero(which)
        if at.size:
            acts = run(visits.take(at), population, rng)
            parts.append(Acts(at[acts.visit], acts.seconds, acts.step, acts.page))
    if not parts:
        return Acts(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int64))
    return Acts(
        np.concatenate([part.visit for part in parts]),
        np.concatenate([part.seconds for part in parts]),
        np.concatenate([part.step for part in parts]),
        np.concatenate([part.page for part in parts]),
    )
