"""The list of erased people, as streams and rebuilding jobs ask for it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

import pyarrow.compute as pc
from pyspark import Broadcast, SparkContext
from pyspark.sql import DataFrame

from features.errors import ConfigurationError
from features.tables import ERASURES
from lake.spark_tables import Lake
from privacy.pseudonyms import Guard, without_erased
from settings import Settings

KEY_VARIABLE = "BEHAVIOR_PSEUDONYM_KEY"
MIN_KEY = 16


def secret_key(settings: Settings, why: str) -> bytes:
    """The key of the hashes, from the environment.

    Raises:
        ConfigurationError: it is not set or too short to be a secret; ``why`` says what needs it.
    """
    given = settings.pseudonym_key
    if given is None:
        raise ConfigurationError(
            f"{KEY_VARIABLE} is not set, and {why}. Set it to one secret of {MIN_KEY} bytes or more for every "
            "job, and keep it: without it no erased person can be told from a new one."
        )
    key = given.get_secret_value().encode()
    if len(key) < MIN_KEY:
        raise ConfigurationError(f"{KEY_VARIABLE} has {len(key)} bytes; needed: at least {MIN_KEY}, best random ones.")
    return key


class Shipped(Collection[str]):
    """Hashes that workers get once, and keep: they are many, and each micro-batch needs them."""

    def __init__(self, context: SparkContext, hashes: frozenset[str]) -> None:
        self._sent: Broadcast[frozenset[str]] = context.broadcast(hashes)

    def __contains__(self, one: object) -> bool:
        return one in self._sent.value

    def __iter__(self) -> Iterator[str]:
        return iter(self._sent.value)

    def __len__(self) -> int:
        return len(self._sent.value)

    def forget(self) -> None:
        """No later batch needs them."""
        self._sent.unpersist()


@dataclass
class Privacy:
    """What is done to records before they are written: erased people left out, ids made pseudonyms if so set."""

    lake: Lake
    settings: Settings
    known: Collection[str] = field(default=frozenset(), init=False)
    at: int | None = field(default=None, init=False)

    def erased(self) -> Collection[str]:
        """Hashes of the erased people; read anew only when the table has a newer version."""
        newest = max(self.lake.versions(ERASURES), default=None)
        if newest != self.at:
            is_new = self.lake.is_new(ERASURES)  # a start is spared a query, which takes seconds
            before, self.known = self.known, frozenset()
            if not is_new:
                rows = self.lake.read(ERASURES).select("user_hash").toArrow()
                hashes = frozenset(pc.unique(rows["user_hash"]).to_pylist())
                self.known = Shipped(self.lake.spark.sparkContext, hashes) if hashes else hashes
            self.at = newest
            if isinstance(before, Shipped):
                before.forget()
        return self.known

    def check(self) -> None:
        """Refuse to start without the key where it is needed.

        Raises:
            ConfigurationError: with what to set.
        """
        self.guard()

    def guard(self) -> Guard:
        """What is done to validated records before they are kept, as of now."""
        ingest, erased, key = self.settings.ingest, self.erased(), b""
        if ingest.pseudonymise:
            key = secret_key(self.settings, "ingest.pseudonymise replaces user ids by hashes under it")
        elif ingest.pseudonymise_fields:
            key = secret_key(self.settings, "ingest.pseudonymise_fields replaces values by hashes under it")
        elif erased:
            key = secret_key(self.settings, "people were erased, who are known by their hashes under it only")
        ids = ("anonymous_id",) if ingest.pseudonymise else ()  # as the user id of who is not known yet
        return Guard(erased, key, ingest.pseudonymise, (*ingest.pseudonymise_fields, *ids))

    def without_erased(self, rows: DataFrame) -> DataFrame:
        """Rows with a ``user_id``, those of erased people left out."""
        guard = self.guard()
        return without_erased(rows, guard.erased, guard.key)
