"""What people do, counted: each user's acts, an *act* being an action on a kind of page ("view /product/*").

The vocabulary is that of the day's people: acts that many users share, the rest together. An act of fewer than
``patterns.least_users`` users is theirs and is not named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from scipy.sparse import csr_array

from patterns.pages import OTHER, PageKinds
from patterns.segments import Floats

MAX_ACTS = 60
"""Acts that are told apart."""
COUNTED = "user_id string, action string, kind string, times long"
REST = (OTHER, OTHER)

Act = tuple[str, str]
"""An action, and a kind of page."""


@dataclass(frozen=True)
class Habits:
    """What users did, and in which acts it is told.

    Attributes:
        acts: the vocabulary, commonest first; the last is :data:`REST`.
        users: user_id, and ``acts`` (numbers of acts) with ``times`` (how often), one row for each user.
    """

    acts: tuple[Act, ...]
    users: DataFrame


def habits_of(done: DataFrame, kinds: PageKinds, least_users: int) -> Habits:
    """Count what users did.

    Args:
        done: user_id, action and page of what people did themselves.
    """
    counted = done.groupBy("user_id", "action", "page").agg(F.count("*").alias("times"))

    def named(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            pages = batch.column("page").dictionary_encode()
            names = np.array([kinds.kind_of(page) for page in pages.dictionary.to_pylist()] or [""], dtype=object)
            kind = pa.array(names[pages.indices.to_numpy(zero_copy_only=False)], pa.string())
            columns = [batch.column("user_id"), batch.column("action"), kind, batch.column("times")]
            yield pa.RecordBatch.from_arrays(columns, names=["user_id", "action", "kind", "times"])

    by_kind = counted.mapInArrow(named, COUNTED).groupBy("user_id", "action", "kind").agg(F.sum("times").alias("times"))
    common = by_kind.groupBy("action", "kind").agg(F.count("*").alias("users"))
    shared = common.where(F.col("users") >= least_users).orderBy(F.desc("users"), "action", "kind").limit(MAX_ACTS)
    acts = (*((row["action"], row["kind"]) for row in shared.collect()), REST)
    numbers = done.sparkSession.createDataFrame(
        [(*act, number) for number, act in enumerate(acts)], "action string, kind string, act int"
    )
    rest = F.coalesce("act", F.lit(len(acts) - 1))
    of_act = by_kind.join(F.broadcast(numbers), ["action", "kind"], "left").groupBy("user_id", rest.alias("act"))
    pairs = (
        of_act.agg(F.sum("times").alias("times"))
        .groupBy("user_id")
        .agg(F.sort_array(F.collect_list(F.struct("act", "times"))).alias("pairs"))
    )
    users = pairs.select("user_id", F.col("pairs.act").alias("acts"), F.col("pairs.times").alias("times"))
    return Habits(acts, users)


def counts_of(acts: pa.Array, times: pa.Array, size: int) -> csr_array:
    """How often each row did each of ``size`` acts, from lists as :class:`Habits` has them; (rows, acts)."""
    rows = np.repeat(np.arange(len(acts)), np.diff(acts.offsets.to_numpy()))
    entries = (rows, acts.flatten().to_numpy().astype(np.int64))
    return csr_array((times.flatten().to_numpy().astype(np.float64), entries), shape=(len(acts), size))


@dataclass(frozen=True)
class Told:
    """An act, or all acts of one action or on one kind of page: its share of what a group does, and of what all do."""

    what: str
    share: float
    overall: float

    @property
    def weight(self) -> float:
        """How much it tells the group from all (its part of Kullback and Leibler's divergence, in nats)."""
        return self.share * float(np.log(max(self.share, 1e-9) / max(self.overall, 1e-9)))


def acts_told(acts: Sequence[Act], shares: Floats, overall: Floats) -> list[Told]:
    """Each act, the most telling first."""
    told = [Told(" ".join(act), *pair) for act, *pair in zip(acts, shares.tolist(), overall.tolist(), strict=True)]
    return sorted(told, key=lambda each: (-each.weight, each.what))


def by_part(acts: Sequence[Act], shares: Floats, overall: Floats, part: int) -> list[Told]:
    """Acts together by action (``part`` 0) or kind of page (1), the most telling first."""
    sums: dict[str, tuple[float, float]] = {}
    for act, share, other in zip(acts, shares.tolist(), overall.tolist(), strict=True):
        if act != REST:
            known = sums.get(act[part], (0.0, 0.0))
            sums[act[part]] = (known[0] + share, known[1] + other)
    told = [Told(what, *pair) for what, pair in sums.items()]
    return sorted(told, key=lambda each: (-each.weight, each.what))


def on(acts: Sequence[Act], shares: Mapping[Act, float]) -> Floats:
    """Shares by act in the order of ``acts``; those of acts that are not among them count as the rest."""
    found = np.array([shares.get(act, 0.0) for act in acts])
    found[-1] += max(0.0, sum(shares.values()) - float(found.sum()))
    return found
