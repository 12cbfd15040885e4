"""Pages to kinds of pages, so that ids in paths do not scatter: ``/product/123/blue-shirt`` -> ``/product/*/*``.

Nothing is known of a site. The parts of the pages seen form a tree, and at every place of the tree:

1. Parts that look like ids (digits, hashes, UUIDs) are one, ``*``; parts that differ in their numbers only are one
   (``page-1``, ``page-2`` -> ``page-*``), as soon as there are several.
2. A place with many different parts keeps those that many users share, and the rest is ``*``; where what would be kept
   is less than half, all are ids or titles, and all are ``*``. A user counts once, spread over the user's pages: a
   crawler that sees a thousand pages has no more to say about them than anybody else.

Kinds once learned stay, so that a path has the same name the next day. Pages are untrusted text: what comes out is
text too, decoded for people, without control characters and of bounded length, but never safe as markup.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

WILD = "*"
START, END, OTHER = "(start)", "(end)", "(other)"
"""Stand where no kind of page is: before the first, after the last, and for all that are not told apart."""
DEEPEST = 6
"""Parts of a page that count; what is below belongs to the same kind."""
MAX_LENGTH = 60
"""Characters of a part that people see."""
SEVERAL = 3
"""Parts that differ in their numbers only become one from so many on; two ids are enough."""
MANY = 12
"""A place with fewer different parts is a menu: all are kept."""
SHARED = 0.01
"""A part of a place with many is kept when it has this share of the place's weight, or a page with this share of all
users, ..."""
BUSY = 0.05
"""... or this share of the visits of the place (a user counts once a page),"""
MIN_VISITS = 3
"""and so many visits at least."""

_ID = re.compile(
    r"\d+|[0-9a-f]{8,}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[^@\s]+@[^@\s]+", re.IGNORECASE
)
NOT_OURS = {ord("*"): "\u2217", ord("/"): "\u2215"}
"""Signs that look the same: an asterisk of the page is no wildcard, and a decoded slash no border."""
_NUMBER = re.compile(r"\d+")
_LISTED = re.compile(r"[,;|]")
_SITE = re.compile(r"^[a-z][a-z0-9+.-]*://[^/?#]*", re.IGNORECASE)


def parts_of(page: str) -> tuple[str, ...]:
    """The parts of a page, decoded; without the site, the query and an end that is empty."""
    text = _SITE.sub("", page, count=1)
    text = text.split("?", 1)[0]
    text = text[:1] + text[1:].split("#", 1)[0]
    parts = [_readable(part) for part in text.split("/")]
    while len(parts) > 1 and not parts[-1]:
        parts.pop()
    return tuple(parts[: DEEPEST + 1])


def _readable(part: str) -> str:
    """Decoded text on one line; its signs are none of ours."""
    decoded = unicodedata.normalize("NFC", unquote(part, errors="replace")).translate(NOT_OURS)
    if not decoded.isprintable():
        decoded = "".join(each if unicodedata.category(each)[0] != "C" else " " for each in decoded)
    return " ".join(decoded.split())


def _shortened(part: str) -> str:
    return part if len(part) <= MAX_LENGTH else part[: MAX_LENGTH - 1] + "…"


def shape_of(part: str) -> str:
    """What is left of a part when ids and numbers are not looked at: ``*``, ``page-*``, or the part itself.

    Of a list (``b7,b12,p3``) each kind of entry is left once: ``b*,p*``.
    """
    if _ID.fullmatch(part) and any(each.isdigit() or each == "@" for each in part):
        return WILD
    shape = _NUMBER.sub(WILD, part)
    return shape if shape == part or not _LISTED.search(shape) else ",".join(sorted(set(_LISTED.split(shape))))


@dataclass
class _Place:
    children: dict[str, _Place] = field(default_factory=dict)

    def add(self, parts: Iterable[str]) -> None:
        place = self
        for part in parts:
            place = place.children.setdefault(part, _Place())


@dataclass(frozen=True)
class PageKinds:
    """Templates of pages, as :func:`learn` finds them; a list of texts can be kept and read again."""

    templates: tuple[str, ...]
    _root: _Place = field(init=False, repr=False, compare=False)
    _known: dict[str, str] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        root = _Place()
        for template in self.templates:
            root.add(template.split("/"))
        object.__setattr__(self, "_root", root)

    def kind_of(self, page: str) -> str:
        """The kind of a page: its template, where several ``*`` in a row are one.

        A page unlike all those learned has the kind of what it shares with them, and ``*``.
        """
        kind = self._known.get(page)
        if kind is None:
            if len(self._known) >= 100_000:
                self._known.clear()
            kind = self._known[page] = self._kind_of(page)
        return kind

    def _kind_of(self, page: str) -> str:
        place = self._root
        names: list[str] = []
        for part in parts_of(page):
            name = next(
                (each for each in (_shortened(part), _shortened(shape_of(part))) if each in place.children), WILD
            )
            if not (name == WILD and names and names[-1] == WILD):
                names.append(name)
            if name not in place.children:
                break
            place = place.children[name]
        return "/".join(names) or "/"


NOTHING_KNOWN = PageKinds(())


@dataclass(frozen=True)
class Visits:
    """How much pages are used: ``users`` who were there, and ``weight``, where each of them counts 1 over all pages.

    Of several pages together ``users`` counts a user once a page, and ``most`` is the number of the most used one.
    """

    users: float
    weight: float
    most: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "most", max(self.most, self.users if not self.most else 0.0))

    def __add__(self, other: Visits) -> Visits:
        return Visits(self.users + other.users, self.weight + other.weight, max(self.most, other.most))


NONE = Visits(0, 0.0)


def learn(pages: Iterable[tuple[str, Visits]], known: PageKinds = NOTHING_KNOWN, least_users: int = 1) -> PageKinds:
    """Templates of ``pages`` and of what is ``known`` from earlier days.

    A name that may be of fewer than ``least_users`` users is ``*``: kinds stay when a person is erased.
    """
    seen: dict[tuple[str, ...], Visits] = {}
    for page, visits in pages:
        parts = parts_of(page)
        seen[parts] = seen.get(parts, NONE) + visits
    templates: set[tuple[str, ...]] = {tuple(template.split("/")) for template in known.templates}
    least = Least(SHARED * sum(visits.weight for visits in seen.values()), least_users)
    _learn(list(seen.items()), known._root.children, (), templates, least)  # noqa: SLF001 - the tree of the same class
    return PageKinds(tuple(sorted("/".join(template) for template in templates)))


Seen = list[tuple[tuple[str, ...], Visits]]


@dataclass(frozen=True)
class Least:
    """How many users make a page one that many ``share``, and how many a name must have been ``named`` by, for sure."""

    share: float
    named: int

    def may_be_named(self, visits: Visits) -> bool:
        """Whether so many users were there: each has a weight of 1 at most, and counts once on the most used page."""
        return visits.most >= self.named or visits.weight > self.named - 1


def _learn(
    pages: Seen, known: Mapping[str, _Place], before: tuple[str, ...], templates: set[tuple[str, ...]], least: Least
) -> None:
    """Add the templates of the ``pages`` below ``before``; the first part of each is the one of this place."""
    rest = [each for each in pages if each[0]]
    if before and len(rest) < len(pages):
        templates.add(before)
    totals: dict[str, Visits] = {}
    for parts, visits in rest:
        totals[parts[0]] = totals.get(parts[0], NONE) + visits
    names = _names(totals, known, least)
    below: dict[str, Seen] = {}
    for parts, visits in rest:
        below.setdefault(names[parts[0]], []).append((parts[1:], visits))
    for name, inside in below.items():
        _learn(inside, known[name].children if name in known else {}, (*before, name), templates, least)


def _names(visits: Mapping[str, Visits], known: Mapping[str, _Place], least: Least) -> dict[str, str]:
    """The name that each part of a place goes by."""
    shapes: dict[str, list[str]] = {}
    for part in visits:
        shapes.setdefault(_shortened(shape_of(part)), []).append(part)
    names = {}
    for shape, parts in shapes.items():
        one = shape in known or len(parts) >= (2 if shape == WILD else SEVERAL)
        names.update({part: shape if one else _shortened(part) for part in parts})
    totals: dict[str, Visits] = {}
    for part, name in names.items():
        totals[name] = totals.get(name, NONE) + visits[part]
    nameable = {
        name: each for name, each in totals.items() if name == WILD or name in known or least.may_be_named(each)
    }
    kept = _kept(nameable, known, least.share)
    return {part: name if name in kept else WILD for part, name in names.items()}


def _kept(totals: Mapping[str, Visits], known: Mapping[str, _Place], least: float) -> set[str]:
    """The names of a place that stay apart."""
    free = {name: visits for name, visits in totals.items() if name != WILD}
    if len(free) <= MANY and WILD not in known:
        return set(free)
    every = sum(totals.values(), NONE)
    shared = {
        name
        for name, visits in free.items()
        if visits.users >= MIN_VISITS
        and (visits.weight >= SHARED * every.weight or visits.most >= least or visits.users >= BUSY * every.users)
    }
    before = {name for name in known if name != WILD}
    if not before and sum(free[name].weight for name in shared) < 0.5 * sum(each.weight for each in free.values()):
        return set()
    return shared | (before & set(free))
