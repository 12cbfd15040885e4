"""Who an anonymous id belongs to, told by events that have both: a user id, and the id from before the login.

A link is a user, an anonymous id and the minute of the earliest event that has both. From that minute on the anonymous
id lends its tiles to the user, until a second user is linked to it: a device that two people log in on is nobody's. So
what is lent follows from the set of the links alone, in whatever order, and however often, they come.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from features.merging import MINUTE_MICROS
from features.sense import is_placeholder

FOREVER = 4_223_371_680
"""Minutes since 1970 to the year 9999: the end of what has none."""
TOLD_BY = ("user_id", "anonymous_id", "timestamp", "topic")
"""Columns of events that links are made of."""
LINKS = pa.schema(
    [("user_id", pa.string()), ("anonymous_id", pa.string()), ("minute", pa.int64()), ("source", pa.string())]
)
MOST_IDS = 1000
"""Who is linked to more ids is a program that acts for many, or gives each request a new one: nothing is lent to it."""
UNDONE, RESTORED = "(undone)", "(restored)"
"""Sources of links that are no topic's: what a person said of them."""


Pair = tuple[str | None, str]
"""A user and an anonymous id."""


class Link(NamedTuple):
    """A user (None: somebody who was erased), an anonymous id, and the minute of the earliest event with both."""

    user_id: str | None
    anonymous_id: str
    minute: int
    source: str = ""


class Loan(NamedTuple):
    """The tiles of ``lender`` count for rows of ``user`` in the minutes ``[since, until)``."""

    lender: str
    user: str
    since: int
    until: int

    def bears_on(self, first: int, last: int) -> bool:
        """Whether it counts in any of the minutes from ``first`` to ``last``."""
        return self.since <= last and first < self.until

    def meets(self, other: Loan) -> bool:
        """Whether both count in some minute."""
        return self.since < other.until and other.since < self.until


def links_in(events: pa.Table) -> pa.Table:
    """The links (:data:`LINKS`) that ``events`` tell (columns :data:`TOLD_BY`; null where there is no event)."""
    if events["anonymous_id"].null_count == events.num_rows:
        return LINKS.empty_table()
    rows = events.select(TOLD_BY).filter(pc.not_equal(events["user_id"], events["anonymous_id"]))
    rows = rows.set_column(2, "timestamp", rows["timestamp"].cast(pa.int64())).sort_by("timestamp")
    first = rows.group_by(["user_id", "anonymous_id"], use_threads=False).aggregate(
        [("timestamp", "first"), ("topic", "first")]
    )
    return told(first.rename_columns(["user_id", "anonymous_id", "micros", "source"]))


def told(pairs: pa.Table) -> pa.Table:
    """Those ``pairs`` (``user_id``, ``anonymous_id``, ``micros`` of the first event, ``source``) that are links.

    No name of nobody in particular is one, on either side, and nobody is linked to himself.
    """
    columns = [pairs["user_id"], pairs["anonymous_id"]]
    is_link = [
        user is not None and anonymous is not None and user != anonymous
        and not is_placeholder(user) and not is_placeholder(anonymous)
        for user, anonymous in zip(*(one.to_pylist() for one in columns), strict=True)
    ]  # fmt: skip
    minutes = pa.array(pairs["micros"].to_numpy() // MINUTE_MICROS)
    return pa.table([*columns, minutes, pairs["source"]], schema=LINKS).filter(pa.array(is_link, pa.bool_()))


def rows_of(links: pa.Table) -> list[Link]:
    """Rows of :data:`LINKS`."""
    return [Link(*row) for row in zip(*(links[name].to_pylist() for name in LINKS.names), strict=True)]


class Change(NamedTuple):
    """What a new link has changed of what an anonymous id lends."""

    before: Loan | None
    after: Loan | None

    def rows(self) -> Iterator[Loan]:
        """Whose rows, in which minutes, had the lender's tiles and have them no more, or have them now."""
        before, after = self.before, self.after
        if before is not None and after is not None and before.user == after.user and before.meets(after):
            for one, other in ((before.since, after.since), (before.until, after.until)):
                if one != other:
                    yield before._replace(since=min(one, other), until=max(one, other))
        else:
            yield from (loan for loan in (before, after) if loan is not None)


@dataclass
class Links:
    """All links that are known, by anonymous id and by user.

    Attributes:
        undone: pairs of user and anonymous id that a person has taken apart: they lend nothing and stop nobody.
    """

    undone: frozenset[Pair] = frozenset()
    _first: dict[str, tuple[tuple[int, str | None], ...]] = field(default_factory=dict)
    """By anonymous id the two who claimed it first, and when: nothing else bears on what it lends."""
    _others: dict[Pair, int] = field(default_factory=dict)
    """When the others did, and those whose links were undone."""
    _ids: dict[str | None, list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, links: Sequence[Link]) -> Links:
        """``links`` in the order in which they were written: of what people say of a pair the last word counts."""
        words = {link[:2]: link.source for link in links if link.source in (UNDONE, RESTORED)}
        known = cls(frozenset(pair for pair, word in words.items() if word == UNDONE))
        for link in links:
            if link.source not in (UNDONE, RESTORED):
                known._claim(*link[:3])
        return known

    def news(self, links: Iterable[Link]) -> list[Link]:
        """Those that say more than is known: of pairs that are new, or of an earlier minute; of a pair the first."""
        earliest: dict[Pair, Link] = {}
        for link in links:
            known, other = self._linked(*link[:2]), earliest.get(link[:2])
            if (known is None or link.minute < known) and (other is None or link.minute < other.minute):
                earliest[link[:2]] = link
        return list(earliest.values())

    def add(self, links: Iterable[Link]) -> list[Change]:
        """Take ``links`` in; what they have changed of what is lent."""
        before: dict[str, Loan | None] = {}
        for link in links:
            before.setdefault(link.anonymous_id, self.loan(link.anonymous_id))
            if len(self._ids.get(link.user_id, ())) == MOST_IDS:  # the next one may be one too many
                for other in self._ids[link.user_id]:
                    before.setdefault(other, self.loan(other))
            self._claim(*link[:3])
        changes = [Change(loan, self.loan(anonymous)) for anonymous, loan in before.items()]
        return [change for change in changes if change.before != change.after]

    def loan(self, anonymous_id: str) -> Loan | None:
        """To whom, and when, an anonymous id lends; None: never."""
        first = self._first.get(anonymous_id)
        if not first:
            return None
        since, user = first[0]
        until = first[1][0] if len(first) > 1 else FOREVER
        if user is None or since >= until or len(self._ids[user]) > MOST_IDS:
            return None
        return Loan(anonymous_id, user, since, until)

    def loans_to(self, user_id: str) -> Iterator[Loan]:
        """What is lent to a user."""
        ids = self._ids.get(user_id, ())
        loans = map(self.loan, ids) if len(ids) <= MOST_IDS else ()
        return (loan for loan in loans if loan is not None and loan.user == user_id)

    def loans(self) -> Iterator[Loan]:
        """All that is lent."""
        return (loan for loan in map(self.loan, self._first) if loan is not None)

    @property
    def borrowers(self) -> Collection[str | None]:
        """Users to whom something may be lent."""
        return self._ids.keys()

    def claimants(self) -> dict[str, set[str | None]]:
        """By anonymous id the users who are linked to it."""
        found = {anonymous: {user for _, user in first} for anonymous, first in self._first.items()}
        for user, anonymous in self._others.keys() - self.undone:
            found[anonymous].add(user)
        return found

    def _linked(self, user: str | None, anonymous: str) -> int | None:
        """The earliest minute that is known of a pair."""
        own = (at for at, one in self._first.get(anonymous, ()) if one == user)
        return next(own, self._others.get((user, anonymous)))

    def _claim(self, user: str | None, anonymous: str, minute: int) -> None:
        pair = (user, anonymous)
        if anonymous not in self._first and pair not in self.undone:  # of most ids there is but one
            self._first[anonymous] = ((minute, user),)
            self._ids.setdefault(user, []).append(anonymous)
            return
        known = self._linked(user, anonymous)
        if known is not None and known <= minute:
            return
        if pair in self.undone:
            self._others[pair] = minute
            return
        if known is None:
            self._ids.setdefault(user, []).append(anonymous)
        self._others.pop(pair, None)
        others = [claim for claim in self._first.get(anonymous, ()) if claim[1] != user]
        first = sorted([*others, (minute, user)], key=lambda claim: claim[0])
        self._first[anonymous] = tuple(first[:2])
        for at, one in first[2:]:
            self._others[one, anonymous] = at
