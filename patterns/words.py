"""Segments and paths in plain words."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from patterns.acts import REST, Told
from patterns.pages import END, OTHER, START
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
FLAGGED_NAME = "flagged"
BY_RULE = (GLANCE_NAME, FLAGGED_NAME)
EVERYBODY = "everybody"
MOTLEY_NAME = "odd ones"

MORE = 1.25
"""From so many times the share of all on, something is what people of a kind do more."""
HALF_AS_TELLING = 0.4
"""A second thing is named, too, if it tells so much of what the first one tells."""
MAX_NAMED, MAX_ACTS_SAID = 2, 3


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


ACTION_SHARES = frozenset({"view_share", "click_share", "interaction_share"})
PLAIN = frozenset({"view", "click", "scroll", "page_view", OTHER})
"""Actions that name nothing by themselves."""
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
    return _numbered(_phrase(telling[:MAX_ADJECTIVES], noun), used)


def _numbered(name: str, used: Collection[str]) -> str:
    number = 1
    while (numbered := name if number == 1 else f"{name} ({number})") in used:
        number += 1
    return numbered


def _phrase(telling: Sequence[Contrast], noun: str) -> str:
    first = sorted(telling, key=lambda each: -each.trait.rank)
    return " ".join([*(each.trait.more if each.difference > 0 else each.trait.less for each in first), noun])


def _noun(contrasts: Sequence[Contrast]) -> tuple[str, Collection[str]]:
    """What the members mainly do, and the traits that are said by it."""
    value = {each.trait.name: each.value for each in contrasts}
    shares = ACTION_SHARES
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


@dataclass(frozen=True)
class Habit:
    """What tells a kind of people from all, the most telling first: by action, by kind of page, act by act.

    ``is_motley`` says that its members have little in common.
    """

    actions: Sequence[Told]
    pages: Sequence[Told]
    acts: Sequence[Told]
    is_motley: bool = False


def people_name(habit: Habit, contrasts: Sequence[Contrast], used: Collection[str]) -> str:
    """A name from what people of a kind do more than all, and how, such as "returning account and login visitors"."""
    things = _things(habit)
    telling = [each for each in contrasts if abs(each.difference) >= TELLING and each.trait.name not in ACTION_SHARES]
    noun = MOTLEY_NAME if habit.is_motley else _noun(contrasts)[0]
    noun = "visitors" if noun == "readers" and things else noun  # pages say what is read
    about = f"{' and '.join(things)} {noun}" if things else noun
    for count in range(0 if things else 1, len(telling) + 1):
        name = _phrase(telling[:count], about)
        if name not in used:
            return name
    return _numbered(_phrase(telling[:1], about), used)


def _things(habit: Habit) -> list[str]:
    """The actions and kinds of pages that tell most, as they stand before a noun."""
    named = [(page_words(each.what).removesuffix(" pages"), each) for each in habit.pages]
    named += [(each.what.replace("_", " "), each) for each in habit.actions if each.what not in PLAIN]
    more = [(name, each) for name, each in named if each.share >= MORE * each.overall and name]
    more.sort(key=lambda one: (-one[1].weight, one[0]))
    return [name for name, each in more if each.weight >= HALF_AS_TELLING * more[0][1].weight][:MAX_NAMED]


def people_description(habit: Habit, contrasts: Sequence[Contrast]) -> str:
    """A sentence: what people of a kind do more than all, then how they differ besides."""
    more = [each for each in habit.acts if each.share >= MORE * each.overall and each.what != " ".join(REST)][
        :MAX_ACTS_SAID
    ]
    parts = [f"{_percent(each.share)} {_act_words(each.what)} (usually {_percent(each.overall)})" for each in more]
    telling = [each for each in contrasts if abs(each.difference) >= TELLING and each.trait.name not in ACTION_SHARES]
    parts += [each.text for each in telling[: MAX_SAID - 1]]
    begin = "little in common; more than others: " if habit.is_motley and parts else ""
    return f"{begin}{', '.join(parts)}" if parts else "much like all others"


def _percent(share: float) -> str:
    return number(share, "share") if share >= 0.005 else "hardly any"


def _act_words(act: str) -> str:
    action, _, kind = act.partition(" ")
    return f"{action.replace('_', ' ')} on {page_words(kind)}"


GLANCE_DESCRIPTION = {
    "session": "one single event and gone: nothing more can be said of them",
    "user": "one single event in the whole day: nothing more can be said of them",
}


FLAGGED_DESCRIPTION = "at least half of their judged sessions were flagged: told apart from people, whatever they do"


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
