"""The simulated shop: its pages, the steps a visitor can take, and the way from one step to the next.

A *step* is an action on a kind of page ("look at a product", "submit the login form"). Where people go next
and how long they stay depends on the step; which product or article they see follows Zipf's law, as page
popularity does on real sites.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np

from simulation.population import visit_events
from simulation.site import Acts, Floats, Ints, Population, Site, Step, Visits, draw, zipf_cumulative
from simulation.sites.shop_people import HONEST_BUT_STRANGE, INTRUDER, PERSONAS

CATEGORIES = 40
PRODUCTS_PER_CATEGORY = 125
PRODUCTS = CATEGORIES * PRODUCTS_PER_CATEGORY
ARTICLES = 600
HELP_TOPICS = 30
CAMPAIGNS = 20

FIXED = ("/", "/search", "/cart", "/checkout", "/order/done", "/login", "/account")
HELP_AT = len(FIXED)
CATEGORY_AT = HELP_AT + HELP_TOPICS
ARTICLE_AT = CATEGORY_AT + CATEGORIES
CAMPAIGN_AT = ARTICLE_AT + ARTICLES
PRODUCT_AT = CAMPAIGN_AT + CAMPAIGNS

PAGES: tuple[str, ...] = (
    *FIXED,
    *(f"/help/{n}" for n in range(1, HELP_TOPICS + 1)),
    *(f"/category/{n}" for n in range(1, CATEGORIES + 1)),
    *(f"/article/{n}" for n in range(1, ARTICLES + 1)),
    *(f"/campaign/{n}" for n in range(1, CAMPAIGNS + 1)),
    *(f"/product/{n}" for n in range(1, PRODUCTS + 1)),
)
"""Every page of the shop; a page's code is its place in here."""

ACTIONS: tuple[str, ...] = ("click", "view", "interaction", "scroll")

# Kinds of pages a step can lead to. A code of FIXED is its own kind; these are drawn anew for each step.
STAY, HELP, CATEGORY, ARTICLE, CAMPAIGN, PRODUCT = -1, -2, -3, -4, -5, -6


STEPS: tuple[Step, ...] = (
    Step("home", "view", 0, 7.0, 1.0),
    Step("menu", "click", STAY, 2.5, 0.8),
    Step("search", "interaction", 1, 8.0, 0.9),
    Step("category", "view", CATEGORY, 11.0, 1.0),
    Step("filter", "click", STAY, 4.0, 0.9),
    Step("product", "view", PRODUCT, 16.0, 1.2),
    Step("gallery", "click", STAY, 1.8, 0.8),
    Step("add", "interaction", 2, 4.0, 0.9),
    Step("cart", "view", 2, 10.0, 1.0),
    Step("quantity", "click", STAY, 2.0, 0.8),
    Step("checkout", "view", 3, 14.0, 0.8),
    Step("pay", "interaction", 3, 22.0, 0.8),
    Step("order", "view", 4, 10.0, 1.0),
    Step("login", "view", 5, 6.0, 0.7),
    Step("sign_in", "interaction", 5, 5.0, 0.7),
    Step("account", "view", 6, 9.0, 1.0),
    Step("edit", "interaction", 6, 14.0, 0.9),
    Step("help", "view", HELP, 25.0, 1.1),
    Step("article", "view", ARTICLE, 32.0, 1.2),
    Step("scroll", "scroll", STAY, 14.0, 0.9),
    Step("campaign", "view", CAMPAIGN, 9.0, 1.0),
    Step("banner", "click", STAY, 2.5, 0.8),
)

STEP: dict[str, int] = {step.name: code for code, step in enumerate(STEPS)}
STEP_DWELL: Floats = np.log(np.array([step.dwell for step in STEPS]))
STEP_SPREAD: Floats = np.array([step.spread for step in STEPS])

WAYS: dict[str, dict[str, float]] = {
    "home": {"menu": 3, "category": 5, "search": 3, "product": 2, "article": 1, "login": 1, "help": 0.3},
    "menu": {"category": 6, "menu": 1.5, "article": 1, "help": 0.5, "login": 0.5},
    "search": {"product": 6, "search": 1.5, "category": 1, "help": 0.2},
    "category": {"filter": 3, "product": 6, "category": 1.5, "home": 0.5, "search": 0.7},
    "filter": {"product": 5, "filter": 2, "category": 1},
    "product": {"gallery": 3, "product": 3, "category": 2, "add": 1, "search": 0.8, "home": 0.3, "article": 0.3},
    "gallery": {"gallery": 2, "product": 2, "add": 1, "category": 1},
    "add": {"cart": 4, "product": 3, "category": 1.5},
    "cart": {"checkout": 2, "product": 2, "category": 1.5, "quantity": 0.7},
    "quantity": {"quantity": 0.7, "cart": 1, "checkout": 1, "product": 0.5},
    "checkout": {"pay": 3, "cart": 1, "login": 1, "help": 0.2},
    "pay": {"pay": 1, "order": 1.2, "checkout": 0.5},
    "order": {"home": 1, "account": 1, "category": 0.5},
    "login": {"sign_in": 5, "help": 0.3, "home": 0.3},
    "sign_in": {"account": 1.5, "home": 1, "checkout": 1, "sign_in": 0.3, "login": 0.3},
    "account": {"home": 1, "category": 1, "account": 0.5, "edit": 0.4},
    "edit": {"account": 1, "edit": 0.3, "home": 0.5},
    "help": {"help": 1, "home": 1, "category": 0.7, "article": 0.3},
    "article": {"scroll": 2, "article": 1.5, "home": 0.5, "category": 0.4, "product": 0.3},
    "scroll": {"scroll": 1.2, "article": 1, "product": 0.3, "home": 0.2},
    "campaign": {"banner": 2, "product": 3, "campaign": 1, "add": 0.6, "category": 0.5},
    "banner": {"product": 3, "banner": 1, "campaign": 1, "add": 0.6},
}
"""Relative odds of the next step. Personas multiply them by their leanings."""


CATEGORY_RANKS = zipf_cumulative(CATEGORIES, 0.9)
PRODUCT_RANKS = zipf_cumulative(PRODUCTS_PER_CATEGORY, 1.0)
ARTICLE_RANKS = zipf_cumulative(ARTICLES, 1.0)
HELP_RANKS = zipf_cumulative(HELP_TOPICS, 1.0)


def transitions(leanings: Mapping[str, float]) -> Floats:
    """Cumulative next-step probabilities, shape (steps, steps), of people with these leanings."""
    odds = np.zeros((len(STEPS), len(STEPS)))
    for source, targets in WAYS.items():
        for target, weight in targets.items():
            odds[STEP[source], STEP[target]] = weight * leanings.get(target, 1.0)
    cumulative: Floats = np.cumsum(odds / odds.sum(axis=1, keepdims=True), axis=1)
    cumulative[:, -1] = 1.0
    return cumulative


@cache
def _ways() -> Floats:
    """Cumulative odds of the next step, by behaviour: shape (behaviours, steps, steps)."""
    return np.stack([transitions(behaviour.leanings) for behaviour in SHOP.behaviours])


MAX_PAUSE = 1500.0
"""Seconds; longer stays are left out, a visit would end there."""
DISTRACTED = 0.02
"""Share of steps at which a person turns to something else for some minutes."""


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
        return np.where(own, self.favourite[at], draw(CATEGORY_RANKS, self.rng, len(at)))

    def _product(self, at: Ints) -> Ints:
        elsewhere = self.rng.random(len(at)) < 0.15
        category = np.where(elsewhere, draw(CATEGORY_RANKS, self.rng, len(at)), self.category[at])
        fresh = PRODUCT_AT + category * PRODUCTS_PER_CATEGORY + draw(PRODUCT_RANKS, self.rng, len(at))
        back = (self.rng.random(len(at)) < 0.15) & (self.compared[at] >= 0)
        page = np.where(back, self.compared[at], fresh)
        self.compared[at] = np.where(self.rng.random(len(at)) < 0.3, page, self.compared[at])
        return page

    def move(self, step: Ints) -> Ints:
        """Pages of the first ``len(step)`` visits after they take these steps."""
        page = self.page
        target = SHOP.step_page[step]
        fixed = np.flatnonzero(target >= 0)
        page[fixed] = target[fixed]
        if (at := np.flatnonzero(target == PRODUCT)).size:
            page[at] = self._product(at)
        if (at := np.flatnonzero(target == CATEGORY)).size:
            self.category[at] = self._category(at)
            page[at] = CATEGORY_AT + self.category[at]
        if (at := np.flatnonzero(target == ARTICLE)).size:
            page[at] = ARTICLE_AT + draw(ARTICLE_RANKS, self.rng, at.size)
        if (at := np.flatnonzero(target == HELP)).size:
            page[at] = HELP_AT + draw(HELP_RANKS, self.rng, at.size)
        if (at := np.flatnonzero(target == CAMPAIGN)).size:
            page[at] = CAMPAIGN_AT + self.campaign[at]
        return page[: len(step)]


def people(visits: Visits, population: Population, rng: np.random.Generator) -> Acts:
    """Walk people's visits through the shop. The order of the result is by step, not by time."""
    counts = np.zeros(len(visits), dtype=np.int64)
    for code in np.unique(visits.behaviour):
        at = visits.behaviour == code
        counts[at] = visit_events(SHOP.behaviours[code], rng, int(at.sum()))
    order = np.argsort(-counts, kind="stable")
    counts = counts[order]
    behaviour = visits.behaviour[order]
    own_pace = np.array([SHOP.behaviours[code].pace for code in visits.behaviour]) if len(visits) else np.zeros(0)
    pace = np.where(visits.behaviour < SHOP.intruder_code, population.pace[visits.user], own_pace)[order]
    pages = _Pages(
        rng, population.favourite[visits.user][order], SHOP.of_behaviours("faithful")[behaviour], visits.campaign[order]
    )
    seconds, ways = visits.start[order].copy(), _ways()
    step = (SHOP.first_steps[behaviour] <= rng.random(len(visits))[:, None]).sum(axis=1)
    active = np.searchsorted(-counts, -np.arange(1, counts.max(initial=0) + 1), side="right")
    columns: list[tuple[Ints, Floats, Ints, Ints]] = []
    for n in active:
        step = step[:n]
        columns.append((order[:n], seconds[:n].copy(), step, pages.move(step).copy()))
        pause = np.exp(STEP_DWELL[step] + STEP_SPREAD[step] * rng.standard_normal(n)) * pace[:n]
        away = np.flatnonzero(rng.random(n) < DISTRACTED)
        pause[away] += rng.exponential(200.0, away.size)
        seconds[:n] += np.clip(pause, 0.15, MAX_PAUSE)
        step = (ways[behaviour[:n], step] <= rng.random(n)[:, None]).sum(axis=1)
    if not columns:
        return Acts.together([])
    return Acts(*(np.concatenate(parts) for parts in zip(*columns, strict=True)))


def _program_pages(
    visits: Visits, population: Population, visit: Ints, place: Ints, step: Ints, rng: np.random.Generator
) -> Ints:
    target = np.where(SHOP.step_page[step] == STAY, PRODUCT, SHOP.step_page[step])
    size = len(visit)
    catalogue = draw(CATEGORY_RANKS, rng, size) * PRODUCTS_PER_CATEGORY + draw(PRODUCT_RANKS, rng, size)
    user = visits.user[visit]
    walked = (population.start_item[user] + place * population.stride[user]) % PRODUCTS
    product = PRODUCT_AT + np.where(
        SHOP.of_behaviours("walks_catalogue")[visits.behaviour][visit] > 0, walked, catalogue
    )
    page = np.where(target >= 0, target, product)
    category = np.flatnonzero(target == CATEGORY)
    page[category] = CATEGORY_AT + draw(CATEGORY_RANKS, rng, category.size)
    article = np.flatnonzero(target == ARTICLE)
    page[article] = ARTICLE_AT + draw(ARTICLE_RANKS, rng, article.size)
    stays = SHOP.of_behaviours("stays_on_page")[visits.behaviour][visit] > 0
    return np.where(stays, PRODUCT_AT + population.start_item[user], page)


SHOP = Site(
    "shop",
    PAGES,
    ACTIONS,
    STEPS,
    PERSONAS,
    HONEST_BUT_STRANGE,
    INTRUDER,
    CAMPAIGNS,
    PRODUCTS,
    CATEGORY_RANKS,
    people,
    _program_pages,
    ("interaction", "/login"),
)
