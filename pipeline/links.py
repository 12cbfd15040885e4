"""Links of anonymous ids to users, as a micro-batch needs them: those of table identities, and those its events tell.

A batch commits what is new after the rows that it changes: who is killed in between finds it new again. And before the
tiles, which say that nothing of the batch's events is owed any more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from features.identities import Change, Link, Links, rows_of
from features.lending import Lending, lending_of
from features.tables import IDENTITIES
from lake.link_rows import read_links, rows_of_links
from lake.spark_tables import Lake
from lake.worker_files import TableFiles
from pipeline.workers import stamp
from streams import queries
from streams.queries import Batch

UNKNOWN = -1
"""No version of a table."""


@dataclass(frozen=True)
class NewLinks:
    """What a batch's events tell that was not known before.

    Attributes:
        links: these.
        lending: what is lent to the users whose rows the batch makes; None: nothing.
        people: whose tiles are needed, and when.
    """

    links: Sequence[Link] = ()
    lending: Lending | None = None
    people: pa.Table | None = None

    def files(self, lake: Lake, batch: Batch) -> list[str]:
        """The rows that they are in table identities, as files that :meth:`~streams.queries.Batch.commit` takes."""
        if not self.links:
            return []
        with TableFiles(lake.location(IDENTITIES), IDENTITIES) as files:
            files.write(stamp(batch.time, batch.id)(rows_of_links(self.links)))
        return files.described

    def commit(self, lake: Lake, batch: Batch) -> None:
        """Append them to table identities, once."""
        if not self.links:
            return
        if lake.takes_files:
            batch.commit(lake, self.files(lake, batch), IDENTITIES)
        else:
            rows = lake.spark.createDataFrame(rows_of_links(self.links)).coalesce(1)
            batch.append(lake, queries.stamped(rows, batch), IDENTITIES)


@dataclass
class KnownLinks:
    """The links of table identities, read from it once.

    Afterwards only what this query writes is added. A commit of anybody else (a link that was undone, an erasure,
    maintenance) is noticed by the table's version, and all are read anew.

    Attributes:
        look_back: minutes, see :class:`features.behavior.SessionRules`.
        are_made: whether there are any: ``features.link_identities``.
    """

    lake: Lake
    look_back: int
    are_made: bool = True
    _links: Links = field(default_factory=Links, init=False)
    _version: int = field(default=UNKNOWN, init=False)
    _is_ahead: bool = field(default=False, init=False)
    """Whether there are links among them that are not known to be committed."""

    def of_batch(
        self, people: pa.Table, told: pa.Table | None, exactly: Callable[[], pa.Table] | None = None
    ) -> NewLinks:
        """The links that a batch tells, and what all of them lend to whom.

        Args:
            people: whose events the batch has (:func:`features.folding.people_in`).
            told: the links in its records (:data:`features.identities.LINKS`).
            exactly: says which links the events tell that are kept, where some of the records are not.
        """
        if not self.are_made:
            return NewLinks((), None, people)
        self._look()
        new = [] if told is None else self._links.news(rows_of(told))
        if new and exactly is not None:
            new = self._links.news(rows_of(exactly()))
        changes: list[Change] = self._links.add(new)
        self._is_ahead = bool(new)
        lending, needed = lending_of(self._links, changes, people, self.look_back)
        return NewLinks(new, lending, needed)

    def committed(self) -> None:
        """Those of the last batch are in the table."""
        if self._is_ahead and self.lake.has_version(IDENTITIES, self._version + 1):
            self._version += 1
            self._is_ahead = False

    def _look(self) -> None:
        if self._version == UNKNOWN:
            self.lake.create(IDENTITIES)  # of an older version there is none
        if self._is_ahead or self._version == UNKNOWN or self.lake.has_version(IDENTITIES, self._version + 1):
            self._version = self.lake.version(IDENTITIES)
            self._links = Links() if self.lake.is_new(IDENTITIES) else read_links(self.lake)
            self._is_ahead = False
