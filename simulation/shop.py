"""The simulated shop: its pages, the steps a visitor can take, and the way from one step to the next.

A *step* is an action on a kind of page ("look at a product", "submit the login form"). Where people go next
and how long they stay depends on the step; which product or article they see follows Zipf's law, as page
popularity does on real sites.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

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


@dataclass(frozen=True)
class Step:
    """An action on a kind of page; ``dwell`` is the median stay in seconds, ``spread`` the sigma of its logarithm."""

    name: str
    action: str
    page: int
    dwell: float
    spread: float


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
STEP_ACTION: Ints = np.array([ACTIONS.index(step.action) for step in STEPS])
STEP_PAGE: Ints = np.array([step.page for step in STEPS])
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


def zipf_cumulative(size: int, exponent: float) -> Floats:
    """Cumulative probabilities of ranks 1 to ``size`` under Zipf's law."""
    weights = 1.0 / np.arange(1, size + 1, dtype=np.float64) ** exponent
    cumulative: Floats = np.cumsum(weights / weights.sum())
    cumulative[-1] = 1.0
    return cumulative


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


def shares(weights: Mapping[str, float]) -> Floats:
    """Cumulative probabilities of the steps, shape (steps,), from relative weights by name."""
    odds = np.zeros(len(STEPS))
    for name, weight in weights.items():
        odds[STEP[name]] = weight
    cumulative: Floats = np.cumsum(odds / odds.sum())
    cumulative[-1] = 1.0
    return cumulative
