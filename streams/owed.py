"""Appends to a table that a later step has not taken yet, told by the logs of both tables.

A micro-batch of the one pass (:mod:`pipeline.one_pass`) appends to all tables under one id. Of what it could not take
all the way, and of what batch jobs append, the rest is done by a batch of its own, whose id says up to which version of
the source it has taken what was owed: ``QUERY_ID/SOURCE:VERSION``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Self

from features.tables import Table
from lake.log import Commit
from lake.spark_tables import Lake
from streams.flow import Stream

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Since:
    """Versions of both tables from which on the logs are looked at: what is before is taken."""

    source: int = 0
    result: int = 0


@dataclass(frozen=True)
class Taken:
    """Which appends to a source are in the result.

    Attributes:
        until: all up to this version are.
        ids: batches that have appended to the result.
    """

    until: int
    ids: frozenset[str]

    def has(self, append: Commit) -> bool:
        return append.version <= self.until or append.batch in self.ids


@dataclass
class Owed:
    """Follows both logs; a look costs a small file for each commit since the last one."""

    lake: Lake
    source: Table
    result: Table
    query_id: str
    since: Since
    _read: Since = field(init=False)
    _appends: dict[int, Commit] = field(default_factory=dict, init=False)
    _ids: set[str] = field(default_factory=set, init=False)
    _until: int = field(default=-1, init=False)

    @classmethod
    def of_step(cls, lake: Lake, step: Stream, query_id: str, note: Mapping[str, Sequence[int]]) -> Self:
        """What a step of the one pass owes, from where on it is ``note``-d (:func:`streams.flow.noted`)."""
        assert step.reads is not None
        return cls(lake, step.reads, step.last, query_id, Since(*note.get(step.reads.name, ())))

    def __post_init__(self) -> None:
        self._read, self._until = self.since, self.since.source - 1

    def look(self) -> None:
        """Take in what was committed since the last look.

        Of commits that a log has forgotten meanwhile, since nobody looked for days, nothing can be told: what was owed
        then counts as taken, as it nearly always is, and the log says how to make sure.
        """
        source, result = self._read.source, self._read.result
        for commit in self.lake.commits(self.source, source):
            if commit.version > source:
                self._say_forgotten(self.source, source)
            source = commit.version + 1
            if commit.appends:
                self._appends[commit.version] = commit
        for commit in self.lake.commits(self.result, result):
            if commit.version > result:
                self._say_forgotten(self.result, result)
                self._until = source - 1
            result = commit.version + 1
            if commit.batch is not None:
                self._ids.add(commit.batch)
                self._until = max(self._until, self._version_in(commit.batch))
        self._read = Since(source, result)

    @property
    def taken(self) -> Taken:
        return Taken(self._until, frozenset(self._ids))

    def due(self, before: int) -> list[Commit]:
        """Appends that are owed, oldest first, up to the first one of the query's own batches from ``before`` on.

        Those are under way, and may yet be owed in the end: nothing after them is taken before that is known, since who
        takes what is owed says so by a version.
        """
        taken = self.taken
        settled = takewhile(lambda one: not self._is_under_way(one, before), self._appends.values())
        return [one for one in settled if not taken.has(one)]

    @property
    def own_id(self) -> str:
        """First part of the ids of batches that take what is owed; their number is a version of the source."""
        return f"{self.query_id}/{self.source.name}"

    def drop(self, appends: Iterable[Commit]) -> None:
        """Nothing is owed of these: their rows are gone."""
        for append in appends:
            del self._appends[append.version]

    def advanced(self, before: int) -> Since:
        """From where on the logs must be looked at by whoever has not seen them; what is before is forgotten here."""
        if not self.due(before) and not any(self._is_under_way(one, before) for one in self._appends.values()):
            self._appends, self._ids, self.since = {}, set(), self._read
            self._until = self.since.source - 1
        return self.since

    def _say_forgotten(self, table: Table, version: int) -> None:
        log.error(
            "The log of %s has forgotten what was committed from version %d on. If a batch had failed just then, its "
            "events are missing in what came after it: python -m jobs.check_parity --all --repair makes sure.",
            table.name,
            version,
        )

    def _is_under_way(self, append: Commit, before: int) -> bool:
        number = number_of(append.batch, self.query_id)
        return number is not None and number >= before

    def _version_in(self, batch: str) -> int:
        prefix, _, version = batch.rpartition(":")
        return int(version) if prefix == self.own_id else -1


def number_of(batch: str | None, query_id: str) -> int | None:
    """The number of a query's own batch; None of any other."""
    if batch is None:
        return None
    prefix, _, number = batch.rpartition(":")
    return int(number) if prefix == query_id and number.isdigit() else None
