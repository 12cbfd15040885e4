"""What a store of the online view does."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Entry:
    """Something about a person, in its newest revision.

    Attributes:
        user: as the tables name the person.
        kind: what it is, see :mod:`online.entries`.
        place: which of its kind, such as a minute; greater is newer.
        revision: of two entries of one place the one with the greater revision is valid.
        body: what is known of it, in JSON.
    """

    user: str
    kind: str
    place: str
    revision: int
    body: bytes


@dataclass(frozen=True)
class Kept:
    """What is kept of an :class:`Entry` as it is read back."""

    place: str
    body: bytes


class Store(Protocol):
    """Entries by person. Every method may be called from any thread.

    Raises:
        EnvironmentProblem: by each method, where the store cannot be reached.
    """

    def put(self, entries: Iterable[Entry], noted: Mapping[str, str]) -> None:
        """Keep the entries, unless a newer revision is there, and the notes."""

    def of(self, users: Sequence[str], limits: Mapping[str, int]) -> dict[str, list[Kept]]:
        """By kind the entries with the greatest places, at most so many, newest first."""

    def noted(self) -> dict[str, str]:
        """All notes."""

    def forget(self, users: Collection[str]) -> None:
        """Remove all about these people, from the files underneath, too."""

    def expire(self, before: Mapping[str, str]) -> None:
        """Remove entries of a kind whose place is less than what is given for it."""

    def clear(self) -> None:
        """Remove everything."""

    def close(self) -> None:
        """Let go of files and connections."""
