"""Tiles of linked ids in the rows of a user: which of them count for which of his rows.

A user's rows are made of his own tiles and of those that are lent to him in the row's minute, as if all had come in one
stream. Where what is lent changes within what is to be made, each stretch between two changes is made by itself, of the
tiles that its rows look back at. Whatever is lent, only his own minutes have rows: the lender keeps his.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from features.hashing import xxhash64
from features.identities import FOREVER, Change, Links, Loan
from features.kernel import Flags, Longs, Records
from features.merging import MINUTE_MICROS, Tiles, ordered

ALWAYS = -FOREVER
"""A minute before all others."""


@dataclass(frozen=True)
class Lending:
    """What is lent to the users whose rows are made.

    Attributes:
        loans: all that bear on the rows that are made.
        changed: rows that had the lender's tiles in these minutes and have them no more, or have them now. They are
            made anew without a fresh tile.
    """

    loans: frozenset[Loan] = frozenset()
    changed: frozenset[Loan] = frozenset()

    @property
    def groups(self) -> pa.Table:
        """``user_id`` and ``user_group``: whose tiles must be in one place, in the place of a user's hash."""
        above: dict[str, str] = {}

        def root(name: str) -> str:
            while (higher := above.get(name, name)) != name:
                above[name] = above.get(higher, higher)
                name = higher
            return name

        for loan in self._all():
            one, other = root(loan.lender), root(loan.user)
            above[one] = above.setdefault(other, other)
        names = pa.array(sorted(above), pa.string())
        roots = pa.array([root(name) for name in names.to_pylist()], pa.string())
        return pa.table({"user_id": names, "user_group": xxhash64(roots)})

    def stretches(self, tiles: Tiles, look_back: int) -> Stretches | None:
        """The ``tiles`` of those whose rows may be made of others' tiles; None where nobody's are."""
        codes = {name: code for code, name in enumerate(tiles.user_names.to_pylist())}
        loans, changed = (_Loans.among(some, codes) for some in (self.loans, self.changed))
        if not len(loans.user) and not len(changed.user):
            return None
        view = _View(tiles, look_back)
        for user, lender, since, until in zip(*changed, strict=True):
            view.make_anew(user, lender, since, until)
        return Stretches.of(view, loans, np.unique(np.concatenate([loans.user, changed.user])))

    def _all(self) -> Iterator[Loan]:
        return chain(self.loans, self.changed)


def lending_of(
    links: Links, changes: Iterable[Change], people: pa.Table, look_back: int
) -> tuple[Lending | None, pa.Table]:
    """What is lent in the rows that events of ``people`` and ``changes`` of the links make or change.

    Args:
        links: all that are known, the changes among them.
        people: whose events came, and when, as :func:`features.folding.people_in` says.
        look_back: minutes.

    Returns:
        None where nothing is; and ``people`` with those whose tiles must be there beside, at the same times.
    """
    changed = frozenset(loan for change in changes for loan in change.rows())
    touched: dict[str, set[tuple[int, int]]] = defaultdict(set)
    borrowers = links.borrowers
    for user, first, last in _minutes_of(people) if borrowers else ():
        if user in borrowers:
            touched[user].add((first, last))
        loan = links.loan(user)
        if loan is not None and loan.bears_on(first, last + look_back):
            touched[loan.user].add((first, last))
    for loan in changed:
        touched[loan.user].add((loan.since, loan.until))
    needed = {(loan.lender, loan.since, loan.until) for loan in changed}
    lent: set[Loan] = set()
    for user, spans in touched.items():
        loans = list(links.loans_to(user))
        for first, last in spans:
            bearing = [loan for loan in loans if loan.bears_on(first, last + look_back)]
            lent.update(bearing)
            needed.update((name, first, last) for name in (user, *(loan.lender for loan in bearing)))
    if not lent and not changed:
        return None, people
    names, *ends = zip(*needed, strict=True)
    begins, stops = (np.array(minutes, np.int64) * MINUTE_MICROS for minutes in ends)
    beside = pa.table({"user_id": names, "first": begins, "last": stops + MINUTE_MICROS - 1})
    return Lending(frozenset(lent), changed), pa.concat_tables(
        [people.select(beside.column_names).cast(beside.schema), beside]
    )


def _minutes_of(people: pa.Table) -> Iterator[tuple[str, int, int]]:
    ends = (people[name].to_numpy() // MINUTE_MICROS for name in ("first", "last"))
    return zip(people["user_id"].to_pylist(), *(minutes.tolist() for minutes in ends), strict=True)


class _Loans(NamedTuple):
    """Loans with the codes of their users. Shape (loans)."""

    user: Longs
    lender: Longs
    since: Longs
    until: Longs

    @classmethod
    def among(cls, loans: Iterable[Loan], codes: dict[str, int]) -> _Loans:
        """Those between users who have codes."""
        known = [
            (codes[loan.user], codes[loan.lender], loan.since, loan.until)
            for loan in loans
            if loan.user in codes and loan.lender in codes
        ]
        return cls(*np.array(known, np.int64).reshape(-1, 4).T)

    def at(self, which: Flags) -> _Loans:
        return _Loans(*(column[which] for column in self))


class _View:
    """The tiles that are there, and which of them are fresh to their own user, and to those whom they are lent to.

    Attributes:
        own, lent: (tiles) whether a tile is to be taken for fresh.
    """

    def __init__(self, tiles: Tiles, look_back: int) -> None:
        self.tiles, self.look_back = tiles, look_back
        self.minutes: Longs = tiles.numbers["minute"]
        self.lent: Flags = tiles.numbers["fresh"]
        self.own = self.lent.copy()

    def make_anew(self, user: int, lender: int, since: int, until: int) -> None:
        """Take a user's tiles in ``[since, until)`` that have one of the lender's in their look-back for fresh."""
        own, others = self.of(np.array([user])), self.minutes[self.of(np.array([lender]))]
        minutes = self.minutes[own]
        newest = np.searchsorted(others, minutes, side="right") - 1
        near = (newest >= 0) & (others[np.maximum(newest, 0)] >= minutes - self.look_back)
        self.own[own[near & (minutes >= since) & (minutes < until)]] = True

    def of(self, users: Longs) -> Longs:
        """Places of all tiles of the ``users``, one user after the other."""
        begins, sizes = self.tiles.starts[users], self.sizes(users)
        return np.repeat(begins - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())

    def sizes(self, users: Longs) -> Longs:
        return self.tiles.starts[users + 1] - self.tiles.starts[users]

    def first_fresh(self, fresh: Flags) -> Longs:
        """(users) the first minute in which each has a fresh tile."""
        first = np.full(len(self.tiles.starts) - 1, FOREVER)
        at = np.flatnonzero(fresh)
        np.minimum.at(first, self.tiles.users[at], self.minutes[at])
        return first


class _Made(NamedTuple):
    """Tiles of stretches, in any order.

    Attributes:
        users: (stretches).
        stretch: (tiles) to which each belongs, by its number among these.
        tiles, fresh: (tiles) its place, and whether it is to be taken for fresh.
        rows: (rows) the minutes that have a row, and in ``of`` (rows) the stretch of each.
    """

    users: Longs
    stretch: Longs
    tiles: Longs
    fresh: Flags
    of: Longs
    rows: Longs


@dataclass(frozen=True)
class Stretches:
    """What the kernel is given in place of users who are lent something: their stretches, as if each were a user.

    Attributes:
        numbers, starts: as :func:`features.kernel.rows_of` takes them, those of all others first.
        users: the user of each of the others, then of each stretch.
    """

    numbers: dict[str, npt.NDArray[Any]]
    starts: Longs
    users: Longs
    _alone: int
    _minutes: Longs

    @classmethod
    def of(cls, view: _View, loans: _Loans, borrowers: Longs) -> Stretches:
        tiles = view.tiles
        others = np.setdiff1d(np.arange(len(tiles.starts) - 1), borrowers)
        sizes, take, fresh = [view.sizes(others)], [view.of(others)], [view.lent[view.of(others)]]
        users, minutes = [others], [np.zeros(0, np.int64)]
        for made in _made(view, loans, borrowers):
            order = ordered(made.stretch, view.minutes[made.tiles]) if len(made.tiles) else np.zeros(0, np.int64)
            minutes.append(_in_stretch(made.of + sum(map(len, users)), made.rows))
            sizes.append(np.bincount(made.stretch, minlength=len(made.users)))
            take.append(made.tiles[order])
            fresh.append(made.fresh[order])
            users.append(made.users)
        numbers = {name: column[np.concatenate(take)] for name, column in tiles.numbers.items()}
        numbers["fresh"] = np.concatenate(fresh)
        starts = np.concatenate([[0], np.cumsum(np.concatenate(sizes))]).astype(np.int64)
        return cls(numbers, starts, np.concatenate(users), len(others), np.concatenate(minutes))

    def kept(self, heads: Records) -> tuple[Longs, Longs]:
        """Which of the rows that the kernel made of these are somebody's own, and whose each is."""
        place = np.searchsorted(self.starts, heads["first_tile"], side="right") - 1
        is_own = (place < self._alone) | np.isin(_in_stretch(place, heads["minute"]), self._minutes)
        kept = np.flatnonzero(is_own)
        return kept, self.users[place[kept]]


def _in_stretch(number: Longs, minutes: Longs) -> Longs:
    """Minutes of stretches as numbers that no other stretch has."""
    return number.astype(np.int64) * (4 * FOREVER) + minutes


def _made(view: _View, loans: _Loans, borrowers: Longs) -> Iterator[_Made]:
    """The stretches of the ``borrowers``: of most, who are lent the same in all of their rows, at once."""
    first = view.first_fresh(view.own)
    np.minimum.at(first, loans.user, view.first_fresh(view.lent)[loans.lender])
    last = view.minutes[view.tiles.starts[1:] - 1]
    has_rows = first <= last
    since, until = first[loans.user], last[loans.user]
    is_always, is_never = (loans.since <= since) & (loans.until > until), (loans.since > until) | (loans.until <= since)
    changing = np.unique(loans.user[~is_always & ~is_never])
    even = np.setdiff1d(borrowers, changing)
    even = even[has_rows[even]]
    if len(even):
        yield _lent_evenly(view, loans.at(is_always & np.isin(loans.user, even)), even)
    for user in changing[has_rows[changing]]:
        yield from _lent_in_turns(view, loans.at(loans.user == user), user)


def _lent_evenly(view: _View, loans: _Loans, users: Longs) -> _Made:
    own, lent = view.of(users), view.of(loans.lender)
    stretch = np.repeat(np.arange(len(users)), view.sizes(users))
    borrowed = np.repeat(np.searchsorted(users, loans.user), view.sizes(loans.lender))
    return _Made(
        users, np.concatenate([stretch, borrowed]), np.concatenate([own, lent]),
        np.concatenate([view.own[own], view.lent[lent]]), stretch, view.minutes[own],
    )  # fmt: skip


def _lent_in_turns(view: _View, loans: _Loans, user: int) -> Iterator[_Made]:
    minutes, own = view.minutes, view.of(np.array([user]))
    ends = np.unique([ALWAYS, FOREVER, *loans.since, *loans.until])
    for since, until in pairwise(ends):
        rows = minutes[own][(minutes[own] >= since) & (minutes[own] < until)]
        lent = view.of(loans.lender[(loans.since <= since) & (loans.until > since)])
        at, fresh = np.concatenate([own, lent]), np.concatenate([view.own[own], view.lent[lent]])
        near = (minutes[at] >= since - view.look_back) & (minutes[at] < until)
        at, fresh = at[near], fresh[near]
        if fresh.any() and len(rows):
            yield _Made(np.array([user]), np.zeros(len(at), np.int64), at, fresh, np.zeros(len(rows), np.int64), rows)
