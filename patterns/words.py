"""Segments and paths in plain words."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from patterns.segments import MIN_DEVIATION, Floats, comparable
from patterns.traits import TRAITS, Trait
from scoring.reasons import amount

TELLING = 0.5
"""Standard deviations from the mean of all from which a trait sets a segment apart."""
MAX_SAID = 4
MAX_ADJECTIVES = 2
QUICK_SECONDS = 3.0
"""Pages looked at for less on average are fetched, not read."""
MAINLY = 0.6

HOME = "home"
GLANCE_NAME = "passers-by"
EVERYBODY = "everybody"
START, END, OTHER = "(start)", "(end)", "(other)"


@dataclass(frozen=True)
class Contrast:
    """A trait of a segment against all: ``difference`` in standard deviations, above 0 where the segment has more."""

    trait: Trait
    value: float
    overall: float
    difference: float

    @property
    def text(self) -> str:
        """The trait in words, with what is usual."""
        return f"{self.said} (usually {number(self.overall, self.trait.unit)})"

    @property
    def said(self) -> str:
        """The trait in words."""
        shown = number(self.value, self.trait.unit)
        text = self.trait.said.format(shown)
        return text.removesuffix("s") if shown == "1" and self.trait.unit in COUNTED else text

    def row(self) -> dict[str, str | float]:
        """A row of :data:`features.tables.PROFILE`."""
        return {
            "trait": self.trait.name,
            "value": self.value,
            "overall": self.overall,
            "difference": self.difference,
            "text": self.text,
        }


COUNTED = ("events", "min", "pages", "sessions", "h")


def number(value: float, unit: str) -> str:
    """A number as people say it: counts are whole, shares in whole percent, pauses with one digit below ten."""
    if unit == "share":
        return f"{value:.0%}".replace("%", " %")
    if unit in COUNTED or abs(value) >= 10:
        return f"{round(value):,}" if abs(value) < 1e9 else amount(value, "")
    return amount(value, "")


def profile(unit: str, members: Floats, everybody: Floats) -> list[Contrast]:
    """How ``members`` differ from ``everybody`` (rows of traits, unknown values as NaN), the most telling first."""
    own, all_ = comparable(unit, members), comparable(unit, everybody)
    contrasts = []
    for place, trait in enumerate(TRAITS[unit]):
        mine, theirs = own[~np.isnan(own[:, place]), place], all_[~np.isnan(all_[:, place]), place]
        if not len(mine) or not len(theirs):
            continue
        spread = max(float(theirs.std()), MIN_DEVIATION[trait.logarithmic])
        difference = float(mine.mean() - theirs.mean()) / spread
        contrasts.append(Contrast(trait, _typical(trait, mine), _typical(trait, theirs), difference))
    return sorted(contrasts, key=lambda each: (-abs(round(each.difference, 6)), each.trait.rank))


def _typical(trait: Trait, compared: Floats) -> float:
    """Median, or mean of shares; in the trait's own unit."""
    return float(np.expm1(np.median(compared))) if trait.logarithmic else float(compared.mean())


def segment_name(contrasts: Sequence[Contrast], used: Collection[str]) -> str:
    """A name from what sets the segment apart, such as "slow night readers", unlike those ``used``."""
    noun, about = _noun(contrasts)
    telling = [each for each in contrasts if abs(each.difference) >= TELLING and each.trait.name not in about]
    if not telling:
        telling = [each for each in contrasts if each.trait.name not in about][:1]
    for count in range(MAX_ADJECTIVES, len(telling) + 1):
        name = _phrase(telling[:count], noun)
        if name not in used:
            return name
    name = _phrase(telling[:MAX_ADJECTIVES], noun)
    number = 1
    while (numbered := name if number == 1 else f"{name} ({number})") in used:
        number += 1
    return numbered


def _phrase(telling: Sequence[Contrast], noun: str) -> str:
    first = sorted(telling, key=lambda each: -each.trait.rank)
    return " ".join([*(each.trait.more if each.difference > 0 else each.trait.less for each in first), noun])


def _noun(contrasts: Sequence[Contrast]) -> tuple[str, set[str]]:
    """What the members mainly do, and the traits that are said by it."""
    value = {each.trait.name: each.value for each in contrasts}
    shares = {"view_share", "click_share", "interaction_share"}
    if value.get("interaction_share", 0.0) >= MAINLY:
        return "form senders", shares
    if value.get("click_share", 0.0) >= MAINLY:
        return "clickers", shares
    if value.get("view_share", 0.0) >= MAINLY:
        return ("page fetchers" if value.get("pause_seconds", np.inf) < QUICK_SECONDS else "readers"), shares
    return "visitors", set()


def segment_description(unit: str, contrasts: Sequence[Contrast]) -> str:
    """A sentence: what the members have more or less of than all, and how many pages they see."""
    telling = [each for each in contrasts if abs(each.difference) >= TELLING][:MAX_SAID]
    parts = [each.text for each in telling]
    if not any(each.trait.name == "pages" for each in telling):
        parts += [each.said for each in contrasts if each.trait.name == "pages"]
    if not telling:
        return f"much like all others: {', '.join(parts)}"
    kinds = {each.trait.name: each.trait.more if each.difference > 0 else each.trait.less for each in telling}
    length = next((kinds[name] for name in ("minutes", "events") if name in kinds), None)
    noun = {"session": "sessions", "user": "days"}[unit]
    return (f"{length} {noun}: " if length else "") + ", ".join(parts) + " at the median"


GLANCE_DESCRIPTION = {
    "session": "one single event and gone: nothing more can be said of them",
    "user": "one single event in the whole day: nothing more can be said of them",
}


def page_words(kind: str) -> str:
    """A kind of page as people say it: "home", "cart", "product pages"."""
    if kind in (START, END, OTHER):
        return kind
    parts = [part for part in kind.split("/") if part and part != "*"]
    if not parts:
        return "pages of many kinds" if "*" in kind else HOME
    words = " ".join(parts).replace("_", " ").replace("-", " ")
    return f"{words} pages" if "*" in kind else words


def path_words(steps: Sequence[str]) -> str:
    """A path as people say it; a kind twice in a row is "several"."""
    said: list[str] = []
    for place, step in enumerate(steps):
        if place and step == steps[place - 1]:
            said[-1] = f"several {page_words(step)}".removeprefix("several several ")
        else:
            said.append(page_words(step))
    return ", then ".join(said)


def lift_words(lift: float | None) -> str:
    """How often against chance, for the middle of a sentence; empty where that says nothing."""
    if lift is None:
        return ""
    if 0.8 <= lift <= 1.25:
        return "; about as often as by chance"
    return f"; {'only ' if lift < 1 else ''}{number(lift, '')} times as often as by chance"


def trend_words(trend: str) -> str:
    """A trend at the end of a sentence."""
    return {"first_day": "first day", "new": "new today"}.get(trend, trend)
