"""Which offsets of a Kafka partition are accounted for: exactly once, not at all, or twice.

Offsets are counted in bitmaps of 32,768, which add up like sums: the tables are read once, three columns of them, and
nothing is sorted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

BUCKET = 32_768
"""Offsets in one bitmap; Spark's ``bitmap_*`` functions fix it."""
MAX_RANGES = 100
"""Incomplete bitmaps of a partition that are looked at offset by offset."""

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


@dataclass(frozen=True)
class Account:
    """What became of the offsets of one partition.

    Attributes:
        read: the offsets that were read.
        events, duplicates, rejected: rows that account for them.
        twice: rows more than distinct offsets.
        strange: rows with offsets that were never read.
        missing: offsets without a row.
    """

    topic: str
    partition: int
    read: Range
    events: int = 0
    duplicates: int = 0
    rejected: int = 0
    twice: int = 0
    strange: int = 0
    missing: tuple[Range, ...] = ()


def split(span: Range, by: Iterable[Range]) -> tuple[list[Range], list[Range]]:
    """``span`` as the parts that are in one of the ranges ``by``, and the parts that are in none."""
    inside, outside, first = [], [], span.first
    for other in sorted(by, key=lambda one: one.first):
        begin, until = max(first, other.first), min(span.until, other.until)
        if until <= begin:
            continue
        if begin > first:
            outside.append(Range(first, begin))
        inside.append(Range(begin, until))
        first = until
    if first < span.until:
        outside.append(Range(first, span.until))
    return inside, outside


def record_kinds(events: DataFrame, rejected: DataFrame) -> DataFrame:
    """``topic``, ``partition``, ``offset`` and ``kind`` (event, duplicate, rejected) of all rows of both tables."""
    place = ["topic", "partition", "offset"]
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
    inside = F.col("offset") >= F.col("first")
    counted = (
        placed.withColumn("inside", F.coalesce(inside, F.lit(False)))
        .groupBy("topic", "partition", "inside", F.expr(f"offset DIV {BUCKET}").alias("bucket"))
        .agg(
            F.expr(f"bitmap_count(bitmap_construct_agg(offset % {BUCKET}))").alias("offsets"),
            *[F.count_if(F.col("kind") == kind).alias(kind) for kind in ("event", "duplicate", "rejected")],
        )
        .toPandas()
    )
    ledger = []
    for topic, partition in sorted({*read, *zip(counted["topic"], counted["partition"].astype(int), strict=True)}):
        own = counted[(counted["topic"] == topic) & (counted["partition"] == partition)]
        good, span = own[own["inside"]], read.get((topic, partition), Range(0, 0))
        sums = {kind: int(good[kind].sum()) for kind in ("event", "duplicate", "rejected")}
        offsets = dict(zip(good["bucket"].astype(int), good["offsets"].astype(int), strict=True))
        gaps = [piece for piece in _pieces(span) if offsets.get(piece.first // BUCKET, 0) < len(piece)]
        missing = _missing(rows.where((F.col("topic") == topic) & (F.col("partition") == partition)), gaps, offsets)
        ledger.append(
            Account(
                topic, partition, span, sums["event"], sums["duplicate"], sums["rejected"],
                twice=sum(sums.values()) - sum(offsets.values()),
                strange=int(own[~own["inside"]][["event", "duplicate", "rejected"]].to_numpy().sum()),
                missing=tuple(missing),
            )
        )  # fmt: skip
    return ledger


def _pieces(span: Range) -> Iterator[Range]:
    """``span`` cut at the borders of bitmaps."""
    first = span.first
    while first < span.until:
        border = (first // BUCKET + 1) * BUCKET
        yield Range(first, min(border, span.until))
        first = border


def _missing(rows: DataFrame, gaps: list[Range], offsets: Mapping[int, int]) -> list[Range]:
    """The ranges of ``gaps`` that ``rows`` lack, joined where they touch."""
    partly = [gap for gap in gaps if offsets.get(gap.first // BUCKET, 0)][:MAX_RANGES]
    there = np.empty(0, np.int64)
    if partly:
        buckets = [gap.first // BUCKET for gap in partly]
        there = rows.where(F.expr(f"offset DIV {BUCKET}").isin(buckets)).select("offset").toArrow()["offset"].to_numpy()
    missing: list[Range] = []
    for gap in gaps:
        lacking = np.setdiff1d(np.arange(gap.first, gap.until), there)
        for run in np.split(lacking, np.flatnonzero(np.diff(lacking) > 1) + 1):
            first, until = int(run[0]), int(run[-1]) + 1
            if missing and missing[-1].until == first:
                first = missing.pop().first
            missing.append(Range(first, until))
    return missing
