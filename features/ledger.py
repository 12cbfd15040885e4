"""Which offsets of a Kafka partition are accounted for: exactly once, not at all, or twice.

Offsets are counted in words, one bit an offset, which add up like sums. Only the rows of records that hold several
events are brought together by offset before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

WORD = 64
"""Offsets in one word."""
WORDS_A_ROW, WORDS_AT_A_TIME = 512, 65_536
"""Words that come back from Spark together, and that are unpacked together: a byte an offset."""
KINDS = ("event", "duplicate", "rejected")
Longs = npt.NDArray[np.int64]

Partition = tuple[str, int]


@dataclass(frozen=True)
class Range:
    """Offsets from ``first`` up to, not including, ``until``."""

    first: int
    until: int

    def __len__(self) -> int:
        return max(0, self.until - self.first)

    def __str__(self) -> str:
        return f"{self.first} to {self.until - 1}" if len(self) > 1 else str(self.first)


@dataclass(frozen=True, eq=False)
class Ranges:
    """Ranges that follow one another and do not touch: ``first`` and ``until`` have shape (ranges)."""

    first: Longs
    until: Longs

    @classmethod
    def of(cls, ranges: Iterable[Range]) -> Ranges:
        """Any ranges, in any order, overlapping or not."""
        known = [(one.first, one.until) for one in ranges if len(one)]
        edges = np.array(sorted(known), np.int64).reshape(-1, 2)
        highest = np.maximum.accumulate(edges[:, 1]) if len(edges) else edges[:, 1]
        begins = np.flatnonzero(np.concatenate(([True], edges[1:, 0] > highest[:-1]))) if len(edges) else edges[:, 0]
        ends = np.concatenate((begins[1:] - 1, [len(edges) - 1])) if len(edges) else begins
        return cls(edges[begins, 0], highest[ends])

    @classmethod
    def of_offsets(cls, offsets: Longs) -> Ranges:
        """Of ``offsets`` in ascending order."""
        return cls.joined(offsets, offsets + 1)

    @classmethod
    def joined(cls, first: Longs, until: Longs) -> Ranges:
        """Of ranges in ascending order that do not overlap; those that touch become one."""
        apart = first[1:] != until[:-1]
        one = np.ones(min(1, len(first)), bool)
        return cls(first[np.concatenate((one, apart))], until[np.concatenate((apart, one))])

    @property
    def offsets(self) -> int:
        """How many offsets are in them."""
        return int((self.until - self.first).sum())

    def __len__(self) -> int:
        return len(self.first)

    def __iter__(self) -> Iterator[Range]:
        return (Range(first, until) for first, until in zip(self.first.tolist(), self.until.tolist(), strict=True))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ranges) and list(self) == list(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def within(self, other: Ranges) -> Ranges:
        """What is in both."""
        begin = np.searchsorted(other.until, self.first, "right")
        count = np.maximum(np.searchsorted(other.first, self.until, "left") - begin, 0)
        ours = np.repeat(np.arange(len(self)), count)
        theirs = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + np.repeat(begin, count)
        return Ranges(
            np.maximum(self.first[ours], other.first[theirs]), np.minimum(self.until[ours], other.until[theirs])
        )

    def without(self, other: Ranges) -> Ranges:
        """What is in these and in none of the others."""
        low, high = np.array([np.iinfo(np.int64).min]), np.array([np.iinfo(np.int64).max])
        return self.within(Ranges(np.concatenate((low, other.until)), np.concatenate((other.first, high))))


NO_RANGES = Ranges.of(())


@dataclass(frozen=True)
class Account:
    """What became of the offsets of one partition.

    Attributes:
        read: the offsets that were read.
        events, duplicates, rejected: rows that account for them. Of a record that holds several events, each is a row.
        twice: rows more than distinct places: offsets, and events of one offset.
        strange: rows with offsets that were never read.
        missing: offsets without a row, or without one for each of the events that their record holds.
    """

    topic: str
    partition: int
    read: Range
    events: int = 0
    duplicates: int = 0
    rejected: int = 0
    twice: int = 0
    strange: int = 0
    missing: Ranges = NO_RANGES


def record_kinds(events: DataFrame, rejected: DataFrame) -> DataFrame:
    """The place in Kafka of all rows of both tables, and their ``kind``: event, duplicate or rejected."""
    place = ["topic", "partition", "offset", "part", "parts"]
    is_duplicate = F.col("reason") == "duplicate_event_id"
    kind = F.when(is_duplicate, "duplicate").otherwise("rejected").alias("kind")
    return events.select(*place, F.lit("event").alias("kind")).unionByName(rejected.select(*place, kind))


def accounts(rows: DataFrame, read: Mapping[Partition, Range]) -> list[Account]:
    """One account for each partition of ``read``, and for each that only ``rows`` (see :func:`record_kinds`) know.

    Rows at or after the end of what was read belong to a batch that is under way, and are left out.
    """
    spark = rows.sparkSession
    known = spark.createDataFrame(
        [(topic, partition, span.first, span.until) for (topic, partition), span in read.items()],
        "topic string, partition int, first bigint, until bigint",
    )
    placed = rows.join(F.broadcast(known), ["topic", "partition"], "left").where("until IS NULL OR offset < until")
    inside = F.coalesce(F.col("offset") >= F.col("first"), F.lit(False))
    placed = placed.withColumn("inside", inside)
    counts = {kind: F.count_if(F.col("kind") == kind) for kind in KINDS}
    whole = words(placed.where("part IS NULL"), ["inside"], counts)
    parts = F.count_distinct("part")
    of_one_record = placed.where("part IS NOT NULL").groupBy("topic", "partition", "offset", "inside")
    complete = F.coalesce(parts == F.max("parts"), F.lit(False)).alias("complete")
    more = (F.count("*") - parts).alias("more")
    batches = of_one_record.agg(*[count.alias(kind) for kind, count in counts.items()], more, complete)
    several = words(batches, ["inside", "complete"], {name: F.sum(name) for name in (*KINDS, "more")})
    found = pd.concat([whole[["topic", "partition"]], several[["topic", "partition"]]])
    places = set(zip(found["topic"], found["partition"], strict=True))
    return [
        _account((topic, int(number)), read, *(_of(topic, number, counted) for counted in (whole, several)))
        for topic, number in sorted({*read, *places})
    ]


def _of(topic: str, number: int, counted: pd.DataFrame) -> pd.DataFrame:
    own = counted[(counted["topic"] == topic) & (counted["partition"] == number)]
    return own.astype({name: bool for name in ("inside", "complete") if name in own})


def _account(place: Partition, read: Mapping[Partition, Range], whole: pd.DataFrame, several: pd.DataFrame) -> Account:
    """Of bitmaps of the partition's records that are one event each, and of those that hold several."""
    good, batches = whole[whole["inside"]], several[several["inside"]]
    rows = {kind: int(good[kind].sum() + batches[kind].sum()) for kind in KINDS}
    outside = [counted[~counted["inside"]][list(KINDS)].to_numpy().sum() for counted in (whole, several)]
    there = offsets_of(good)
    complete, incomplete = offsets_of(batches[batches["complete"]]), offsets_of(batches[~batches["complete"]])
    twice = int(good[list(KINDS)].to_numpy().sum()) - there.offsets + int(batches["more"].sum())
    as_both = there.within(complete).offsets + there.within(incomplete).offsets
    span = read.get(place, Range(0, 0))
    return Account(
        *place, span, rows["event"], rows["duplicate"], rows["rejected"],
        twice=twice + as_both,
        strange=int(sum(outside)),
        missing=Ranges.of([span]).without(there).without(complete),
    )  # fmt: skip


def words(rows: DataFrame, groups: Sequence[str], sums: Mapping[str, Column]) -> pd.DataFrame:
    """The offsets of ``rows`` (topic, partition, offset), 64 in a word, a bit each, beside the ``sums``.

    A row for every 32,768 offsets of a partition and of further ``groups``: ``word`` and ``bits`` are arrays, of the
    words in which an offset is.
    """
    by = ["topic", "partition", *groups]
    # In numbers, which Spark adds up in a hash table: for whole bitmaps, which are bytes, it would sort all rows first.
    bit = F.expr(f"bit_or(shiftleft(1L, CAST(offset % {WORD} AS INT)))")
    of_word = rows.groupBy(*by, F.expr(f"offset DIV {WORD}").alias("word")).agg(
        bit.alias("bits"), *[count.alias(name) for name, count in sums.items()]
    )
    together = of_word.groupBy(*by, F.expr(f"word DIV {WORDS_A_ROW}").alias("bucket")).agg(
        F.collect_list(F.struct("word", "bits")).alias("words"), *[F.sum(name).alias(name) for name in sums]
    )
    counted = together.toArrow()
    lists = counted["words"].combine_chunks()
    limits = np.concatenate(([0], np.cumsum(lists.value_lengths()))).tolist()
    found = lists.flatten()
    columns = {name: found.field(name).to_numpy() for name in ("word", "bits")}
    split = {name: [values[begin:end] for begin, end in pairwise(limits)] for name, values in columns.items()}
    arrays = {name: pd.Series(values, dtype=object) for name, values in split.items()}
    frame: pd.DataFrame = counted.drop_columns(["words"]).to_pandas()
    return frame.assign(**arrays)


def offsets_of(counted: pd.DataFrame) -> Ranges:
    """The offsets that :func:`words` of one partition hold."""
    word, bits = (np.concatenate([NO_RANGES.first, *counted[name]]) for name in ("word", "bits"))
    order = np.argsort(word)
    first, until = [NO_RANGES.first], [NO_RANGES.first]
    for some in np.split(order, range(WORDS_AT_A_TIME, len(order), WORDS_AT_A_TIME)):
        octets = bits[some].astype("<i8").view(np.uint8).reshape(-1, WORD // 8)
        edges = np.diff(np.unpackbits(octets, axis=1, bitorder="little"), axis=1, prepend=0, append=0)
        row, bit = np.nonzero(edges)
        edge = word[some][row] * WORD + bit
        first.append(edge[::2])
        until.append(edge[1::2])
    return Ranges.joined(np.concatenate(first), np.concatenate(until))
