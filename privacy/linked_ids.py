"""Ids that are the same person as those who are to be erased, by the links of table identities."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from features.identities import Links

PSEUDONYM = re.compile(r"[0-9a-f]{64}")
SAMPLE = 20
"""Ids that a sentence names at most."""


@dataclass(frozen=True)
class LinkedIds:
    """What is linked to people who are to be erased.

    Attributes:
        same: anonymous ids that nobody else was ever linked to.
        shared: those that somebody else was linked to, too.
        borrowers: users who stay, and whose rows were made of what one of those people did.
    """

    same: list[str]
    shared: list[str]
    borrowers: list[str]

    @classmethod
    def of(cls, people: Collection[str], links: Links) -> LinkedIds:
        same, shared = list[str](), list[str]()
        for anonymous, claimed in links.claimants().items():
            if anonymous not in people and not claimed.isdisjoint(people):
                (same if claimed <= set(people) else shared).append(anonymous)
        lent = {loan.user for loan in links.loans() if loan.lender in people and loan.user not in people}
        return cls(sorted(same), sorted(shared), sorted(lent))

    @property
    def pseudonyms(self) -> list[str]:
        """Those of the same person that are keyed hashes already."""
        return [one for one in self.same if PSEUDONYM.fullmatch(one)]

    def sentences(self, *, are_erased: bool) -> list[str]:
        """What to say of them; ``are_erased``: whether the same people's are erased, too."""
        said = []
        if self.same:
            what = "were erased, too" if are_erased else "stay: the option --linked erases them, too"
            said.append(f"{_named(self.same)}, which only the erased were linked to, {what}.")
        if self.shared:
            said.append(f"{_named(self.shared)}, which others were linked to, too, stay, and lend nobody anything.")
        if self.borrowers:
            said.append(
                f"Rows of {_named(self.borrowers)} were made of what an erased id did, too: "
                "python -m jobs.backfill_features makes them without it."
            )
        return said


def _named(ids: list[str]) -> str:
    more = f" and {len(ids) - SAMPLE:,} more" if len(ids) > SAMPLE else ""
    return f"{', '.join(ids[:SAMPLE])}{more}"
