"""Journeys on the page: where people go, what they stumble over, who comes back; the address says what is asked.

Counting takes up to seconds, so the answer to a question is kept for a minute, and says how old it is. A part that
cannot be counted is a sentence; the others are there all the same.
"""

from __future__ import annotations

import csv
import io
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import urlencode

from features.errors import BehaviorError, UsageError
from journeys import findings, flow, funnels
from journeys.acts import BEGINNING, TRAFFIC, Acts, Traffic, acts_in
from journeys.configured import How, Span, ends_of, funnel_of, how_of, span_of
from journeys.definitions import Funnel, step_of
from journeys.proposals import propose
from journeys.retention import AGES, Retention, retention
from lake.reader import LakeReader
from patterns.pages import END, OTHER, START
from patterns.words import page_words
from settings import Settings

KEPT_SECONDS, MAX_KEPT = 60.0, 64
MAX_STEPS = 6
"""Steps that the form has room for."""
TABLES = ("funnel", "days", "ways", "findings", "retention", "lifecycle")
"""What can be taken away as CSV."""

T = TypeVar("T")


@dataclass(frozen=True)
class Question:
    """What is asked: a funnel by name or by its steps, days, sessions, and the kind of page in the middle."""

    funnel: str = ""
    steps: tuple[str, ...] = ()
    within: float | None = None
    any_order: bool = False
    since: date | None = None
    until: date | None = None
    traffic: Traffic = "ordinary"
    kind: str = ""

    @classmethod
    def of(cls, given: Mapping[str, str], steps: Sequence[str]) -> Question:
        """From an address's query; what is empty is not asked.

        Raises:
            UsageError: something makes no sense.
        """
        found: list[Traffic] = [each for each in TRAFFIC if each == (given.get("traffic") or "ordinary")]
        if not found:
            raise UsageError(f"Sessions {given['traffic']!r}: needed: {', '.join(TRAFFIC)}.")
        return cls(
            given.get("funnel", ""),
            tuple(text.strip() for text in steps if text.strip()),
            _minutes(given.get("within", "")),
            given.get("any_order", "") not in ("", "0", "false"),
            _day("First day", given.get("since", "")),
            _day("Last day", given.get("until", "")),
            found[0],
            given.get("kind", ""),
        )

    def address(self, **changes: Any) -> str:
        """The query of an address that asks this, or this with ``changes``."""
        asked = replace(self, **changes)
        pairs: list[tuple[str, str]] = [("funnel", asked.funnel)]
        pairs += [("step", step) for step in asked.steps]
        pairs += [("within", "" if asked.within is None else f"{asked.within:g}")]
        pairs += [("any_order", "1" if asked.any_order else "")]
        pairs += [("since", asked.since.isoformat() if asked.since else "")]
        pairs += [("until", asked.until.isoformat() if asked.until else "")]
        pairs += [("traffic", "" if asked.traffic == "ordinary" else asked.traffic), ("kind", asked.kind)]
        return urlencode([(name, value) for name, value in pairs if value])


def _minutes(text: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise UsageError(f"Minutes to the last step: found {text!r}; needed: a number above 0.")
    return value


def _day(name: str, text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise UsageError(f"{name}: found {text!r}; needed: year, month and day, such as 2026-03-01.") from None


@dataclass(frozen=True)
class View:
    """What the page shows; a part that is None is not there, and ``trouble`` says by its name why.

    Attributes:
        known: names of the funnels of conf, and those that were proposed.
        counted_at: when the oldest part was counted.
    """

    question: Question
    span: Span | None = None
    known: tuple[str, ...] = ()
    proposed: tuple[Funnel, ...] = ()
    funnel: funnels.Counted | None = None
    flow: flow.Flow | None = None
    findings: tuple[findings.Finding, ...] | None = None
    retention: Retention | None = None
    trouble: Mapping[str, str] = field(default_factory=dict)
    counted_at: datetime | None = None

    @property
    def ages(self) -> list[int]:
        """Days after the first for which something is known."""
        cohorts = self.retention.cohorts if self.retention else ()
        return [age for age in AGES if any(age in cohort.on for cohort in cohorts)]

    def table(self, what: str) -> list[list[Any]] | None:
        """One of :data:`TABLES` with its heading; None where it is not there."""
        match what:
            case "funnel" if self.funnel:
                head = ["step", "people", "of_first", "of_previous", "seconds_median", "seconds_p90"]
                return [
                    head,
                    *([getattr(one, "name" if name == "step" else name) for name in head] for one in self.funnel.steps),
                ]
            case "days" if self.funnel:
                return [["day", *(step.name for step in self.funnel.steps)],
                        *([f"{day:%Y-%m-%d}", *people] for day, people in self.funnel.days.items())]  # fmt: skip
            case "ways" if self.flow:
                sides = (("before", self.flow.before), ("after", self.flow.after))
                return [["page", "side", "neighbour", "visits", "share", "people"],
                        *([self.flow.kind, side, way.kind, way.visits, way.share, way.people]
                          for side, ways in sides for way in ways)]  # fmt: skip
            case "findings" if self.findings is not None:
                return [["what", "pages", "action", "people", "share", "text"],
                        *([one.what, " ".join(one.places), one.action, one.people, one.share, one.text]
                          for one in self.findings)]  # fmt: skip
            case "retention" if self.retention:
                return [["first_seen", "people", *(f"day_{age}" for age in self.ages)],
                        *([f"{cohort.day:%Y-%m-%d}", cohort.people, *(cohort.on.get(age) for age in self.ages)]
                          for cohort in self.retention.cohorts)]  # fmt: skip
            case "lifecycle" if self.retention:
                names = ["people", "new", "returning", "back", "gone", "stickiness"]
                return [["day", *names], *([f"{day.day:%Y-%m-%d}", *(getattr(day, name) for name in names)]
                                           for day in self.retention.days)]  # fmt: skip
        return None


def as_csv(rows: Iterable[Sequence[Any]]) -> str:
    """Rows as CSV. Text that a spreadsheet would take for a formula gets an apostrophe before it."""
    written = io.StringIO()
    csv.writer(written).writerows([_cell(value) for value in row] for row in rows)
    return written.getvalue()


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@\t\r") else value


class Journeys:
    """Counts for all who look; its answers are kept for :data:`KEPT_SECONDS`. For several threads."""

    def __init__(self, settings: Settings, reader: LakeReader) -> None:
        self.settings, self.reader = settings, reader
        self._kept: OrderedDict[tuple[Any, ...], tuple[float, Any]] = OrderedDict()
        self._lock = threading.Lock()

    def view(self, question: Question) -> View:
        """What the page shows for a question. Blocks."""
        known = tuple(sorted(self.settings.journeys.funnels))
        trouble: dict[str, str] = {}
        oldest = [time.time()]

        def part(name: str, count: Callable[[], T], *key: Any) -> T | None:
            try:
                at, value = self._keep((name, *key), count)
            except BehaviorError as problem:
                trouble[name] = str(problem)
                return None
            oldest.append(at)
            return value

        span = part("span", lambda: self._span(question), question.since, question.until)
        if span is None:
            return View(question, known=known, trouble=trouble)
        days = (question.since, question.until, question.traffic)
        proposed = tuple(part("proposed", lambda: self._proposed(span, question), *days) or ())
        steps = (question.funnel, question.steps, question.within, question.any_order)
        funnel = part("funnel", lambda: self._funnel(span, question, proposed), *days, *steps)
        goals = ends_of((*proposed, *(funnel_of(self.settings.journeys, name) for name in known)))
        seen = part("findings", lambda: self._findings(span, question, goals), *days)
        ways = part("ways", lambda: self._flow(span, question), *days, question.kind)
        again = part("retention", lambda: self._retention(span, question), *days)
        return View(
            question, span, known, proposed, funnel, ways, None if seen is None else tuple(seen), again, trouble,
            datetime.fromtimestamp(min(oldest), UTC),
        )  # fmt: skip

    def _keep(self, key: tuple[Any, ...], count: Callable[[], T]) -> tuple[float, T]:
        """When it was counted, and what; counted anew where that is too long ago."""
        with self._lock:
            kept = self._kept.get(key)
        if kept is not None and time.time() - kept[0] < KEPT_SECONDS:
            return kept
        made = (time.time(), count())
        with self._lock:
            self._kept[key] = made
            self._kept.move_to_end(key)
            while len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        return made

    def _span(self, question: Question) -> Span | None:
        return span_of(self.reader, self.settings.journeys.days, question.since, question.until)

    def _acts(self, since: datetime, until: datetime) -> Acts:
        return acts_in(self.reader, since, until, seconds=self.settings.serving.answer_seconds)

    def _how(self, question: Question) -> How:
        return how_of(self.settings, self.reader, question.traffic)

    def _proposed(self, span: Span, question: Question) -> list[Funnel]:
        return propose(self._acts(*span), *span, **self._how(question))

    def _funnel(self, span: Span, question: Question, proposed: Sequence[Funnel]) -> funnels.Counted | None:
        chosen = self._chosen(question, proposed)
        return None if chosen is None else funnels.count(self._acts(*span), chosen, *span, **self._how(question))

    def _chosen(self, question: Question, proposed: Sequence[Funnel]) -> Funnel | None:
        """The funnel that is asked for; where none is, the first of conf or else of those proposed."""
        if question.steps:
            within = None if question.within is None else timedelta(minutes=question.within)
            return Funnel("Your steps", tuple(map(step_of, question.steps)), within, not question.any_order)
        known = {name: funnel_of(self.settings.journeys, name) for name in self.settings.journeys.funnels}
        everything = {**{funnel.name: funnel for funnel in proposed}, **known}
        if not question.funnel:
            first = [*sorted(known), *(funnel.name for funnel in proposed)]
            return everything[first[0]] if first else None
        if question.funnel not in everything:
            there = ", ".join(everything) or "none"
            raise UsageError(f"Funnel {question.funnel!r}: found none of that name now; there are: {there}.")
        return everything[question.funnel]

    def _flow(self, span: Span, question: Question) -> flow.Flow:
        return flow.flow(self._acts(*span), question.kind or None, *span, **self._how(question))

    def _findings(self, span: Span, question: Question, goals: set[str]) -> list[findings.Finding]:
        return findings.find(self._acts(*span), *span, **self._how(question), meant=goals)

    def _retention(self, span: Span, question: Question) -> Retention:
        return retention(self._acts(BEGINNING, span[1]), BEGINNING, *span, traffic=question.traffic)


def named(kind: str) -> str:
    """A kind of page, or what stands where there is none, for people."""
    return {START: "comes in", END: "leaves", OTHER: "other pages"}.get(kind) or page_words(kind)
