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
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from features.hashing import xxhash64
from features.identities import FOREVER, Change, Links, Loan
from features.kernel import Flags, Longs, Records
from features.merging import MINUTE_MICROS, Tiles

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
        by_user: dict[int, tuple[list[Loan], list[Loan]]] = defaultdict(lambda: ([], []))
        for place, loans in enumerate((self.loans, self.changed)):
            for loan in loans:
                if loan.user in codes and loan.lender in codes:
                    by_user[codes[loan.user]][place].append(loan)
        if not by_user:
            return None
        made = [one for user, both in by_user.items() for one in _of_user(tiles, user, *both, codes, look_back)]
        return Stretches.of(tiles, np.array(sorted(by_user), np.int64), made)

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
    for user, first, last in _minutes_of(people) if links.claims else ():
        if user in links.borrowers:
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


@dataclass(frozen=True)
class Stretch:
    """Rows of one user within minutes in which the same is lent to him.

    Attributes:
        tiles: places of the tiles that they are made of, in order of time.
        fresh: which of them are to be taken for fresh.
        minutes: those that have a row.
    """

    user: int
    tiles: Longs
    fresh: Flags
    minutes: Longs


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
    def of(cls, tiles: Tiles, borrowers: Longs, made: list[Stretch]) -> Stretches:
        others = np.setdiff1d(np.arange(len(tiles.starts) - 1), borrowers)
        alone = np.flatnonzero(np.isin(tiles.users, borrowers, invert=True))
        take = np.concatenate([alone, *(one.tiles for one in made)])
        numbers = {name: column[take] for name, column in tiles.numbers.items()}
        numbers["fresh"] = np.concatenate([numbers["fresh"][: len(alone)], *(one.fresh for one in made)])
        sizes = [*np.diff(tiles.starts)[others], *(len(one.tiles) for one in made)]
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        users = np.array([*others, *(one.user for one in made)], np.int64)
        minutes = [_in_stretch(number, one.minutes) for number, one in enumerate(made, len(others))]
        return cls(numbers, starts, users, len(others), np.concatenate([np.zeros(0, np.int64), *minutes]))

    def kept(self, heads: Records) -> tuple[Longs, Longs]:
        """Which of the rows that the kernel made of these are somebody's own, and whose each is."""
        place = np.searchsorted(self.starts, heads["first_tile"], side="right") - 1
        is_own = (place < self._alone) | np.isin(_in_stretch(place, heads["minute"]), self._minutes)
        kept = np.flatnonzero(is_own)
        return kept, self.users[place[kept]]


def _in_stretch(number: int | Longs, minutes: Longs) -> Longs:
    """Minutes of a stretch, or each of another, as numbers that no other stretch's has."""
    return np.asarray(number, np.int64) * (4 * FOREVER) + minutes


def _of_user(
    tiles: Tiles, user: int, loans: Iterable[Loan], changed: Iterable[Loan], codes: dict[str, int], look_back: int
) -> Iterator[Stretch]:
    minutes, is_fresh = tiles.numbers["minute"], tiles.numbers["fresh"]

    def of(code: int) -> Longs:
        return np.arange(tiles.starts[code], tiles.starts[code + 1])

    own, lent = of(user), [(loan, of(codes[loan.lender])) for loan in loans]
    anew = is_fresh[own]
    for loan in changed:
        anew |= _looks_back_at(minutes[own], minutes[of(codes[loan.lender])], loan, look_back)
    ends = sorted({ALWAYS, FOREVER, *(end for loan, _ in lent for end in (loan.since, loan.until))})
    for since, until in pairwise(ends):
        parts = [(own, anew)] + [(at, is_fresh[at]) for loan, at in lent if loan.bears_on(since, since)]
        at, fresh = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        near = (minutes[at] >= since - look_back) & (minutes[at] < until)
        at, fresh = at[near], fresh[near]
        rows = np.unique(minutes[own][(minutes[own] >= since) & (minutes[own] < until)])
        if fresh.any() and len(rows):
            order = np.argsort(minutes[at], kind="stable")
            yield Stretch(user, at[order], fresh[order], rows)


def _looks_back_at(minutes: Longs, lenders: Longs, loan: Loan, look_back: int) -> Flags:
    """Which of a user's ``minutes`` within ``loan`` have one of the lender's in their look-back."""
    newest = np.searchsorted(lenders, minutes, side="right") - 1
    near = (newest >= 0) & (lenders[np.maximum(newest, 0)] >= minutes - look_back)
    return near & (minutes >= loan.since) & (minutes < loan.until)
