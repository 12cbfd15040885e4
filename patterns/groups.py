"""The segments of a day's sessions or users: their rows, and who is in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from patterns.acts import Act, Habits
from patterns.context import Earlier, Options, Row, Sample, shares
from patterns.descriptions import described
from patterns.segmentation import Rows, Segmentation, find, is_single, learned_from
from patterns.traits import TRAITS
from patterns.trends import Day, trend


@dataclass(frozen=True)
class Groups:
    """Rows of the segments table, members (columns of pattern_members without the day), rows learned from, notes."""

    rows: list[Row]
    members: DataFrame
    learned: int
    notes: list[str]
    held: list[DataFrame]


def groups(
    day: datetime,
    unit: str,
    traits: DataFrame,
    few: Column,
    sample: Sample,
    earlier: Earlier,
    options: Options,
    acts: tuple[Act, ...] = (),
) -> Groups:
    """Segment the rows of ``traits``; ``few`` says which to learn from.

    Args:
        traits: keys, traits of ``unit``, scored and flagged; of users :func:`with_habits` besides.
        acts: of users, what ``acts`` in ``traits`` are.
    """
    training = traits.where(few).toArrow().combine_chunks().sort_by([(key, "ascending") for key in keys_of(unit)])
    rows = Rows.of(unit, {name: _one(training[name]) for name in training.column_names}, acts)
    known = {each.segment_id: each for each in earlier.segments if each.unit == unit}
    segmentation = find(day, unit, rows, known, options, acts)
    assigned = assign(traits, segmentation, acts).persist(StorageLevel.MEMORY_AND_DISK)
    counted = assigned.groupBy("pattern_id").agg(
        F.count("*").alias("members"),
        F.count_if("scored").alias("scored"),
        F.count_if(F.col("scored") & F.col("flagged")).alias("flagged"),
    )
    counts = {row["pattern_id"]: row for row in counted.collect()}
    total = sum(row["members"] for row in counts.values())
    labels = np.array(segmentation.labels(rows)[0], dtype=object)
    told = []
    for each in described(segmentation, training, rows, labels, sample, known):
        segment = each["segment_id"]
        before = known.get(segment)
        count = counts[segment]
        days = [Day(before.members.get(one, 0) if before else 0, all_[unit]) for one, all_ in earlier.days.items()]
        mean, name = trend(count["members"], total, days, is_first=not earlier.days)
        told.append(
            {
                "day": day,
                "unit": unit,
                **each,
                "members": count["members"],
                **shares(count["members"] / total, mean, name, count["flagged"], count["scored"]),
                "first_day": before.first_day if before else day,
            }
        )
    told.sort(key=lambda row: (-row["members"], row["segment_id"]))
    learned = int(learned_from(unit, rows).sum())
    notes = []
    if len(rows.values) < total:
        notes.append(
            f"Segments of {unit}s were learned from {len(rows.values):,} of {total:,}, those of a sample of users."
        )
    if rows.is_flagged is not None and rows.is_flagged.any():
        notes.append("Kinds of users are those of people: who was mostly flagged is told apart and taught nothing.")
    if is_single(segmentation):
        notes.append(f"The {unit}s form no distinct groups: all with more than one event are one segment.")
    return Groups(told, _members(unit, assigned, options.examples), learned, notes, [assigned])


def with_habits(users: DataFrame, habits: Habits, sessions: DataFrame) -> DataFrame:
    """Traits of ``users`` with ``acts`` and ``times`` (:class:`patterns.acts.Habits`), and ``is_flagged``: at least
    half of the user's judged ``sessions`` were flagged."""
    mostly = (
        sessions.where("scored").groupBy("user_id").agg((2 * F.count_if("flagged") >= F.count("*")).alias("is_flagged"))
    )
    joined = users.join(habits.users, "user_id", "left").join(mostly, "user_id", "left")
    nothing = F.array().cast("array<int>"), F.array().cast("array<bigint>")
    return joined.withColumns(
        {
            "acts": F.coalesce("acts", nothing[0]),
            "times": F.coalesce("times", nothing[1]),
            "is_flagged": F.coalesce("is_flagged", F.lit(False)),
        }
    )


def _one(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def assign(traits: DataFrame, segmentation: Segmentation, acts: tuple[Act, ...]) -> DataFrame:
    """``traits`` with pattern_id (the segment's) and distance; of the columns only keys, scored and flagged stay."""
    keys, names = keys_of(segmentation.unit), [trait.name for trait in TRAITS[segmentation.unit]]
    names += ["acts", "times", "is_flagged"] if segmentation.unit == "user" else []
    verdicts = [F.coalesce(name, F.lit(False)).alias(name) for name in ("scored", "flagged")]
    chosen = traits.select(*keys, *verdicts, *names)
    kept = [*keys, "scored", "flagged"]
    schema = StructType([chosen.schema[name] for name in kept]).add("pattern_id", "string").add("distance", "double")

    def label(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            rows = Rows.of(segmentation.unit, {name: batch.column(name) for name in names}, acts)
            labels, distances = segmentation.labels(rows)
            arrays = [*[batch.column(name) for name in kept], pa.array(labels, pa.string()), pa.array(distances)]
            yield pa.RecordBatch.from_arrays(arrays, names=schema.fieldNames())

    return chosen.mapInArrow(label, schema)


def _members(unit: str, assigned: DataFrame, examples: int) -> DataFrame:
    """All users with their segment; of sessions only the examples: those nearest the centre, one a user."""
    start = F.col("session_start") if unit == "session" else F.lit(None).cast("timestamp")
    named = assigned.select(
        F.lit(unit).alias("unit"), "pattern_id", "user_id", start.alias("session_start"), "distance"
    )
    nearest = named.groupBy("pattern_id", "user_id").agg(F.min(F.struct("distance", "session_start")).alias("near"))
    first = Window.partitionBy("pattern_id").orderBy("near", "user_id")
    shown = nearest.withColumn("place", F.row_number().over(first)).where(F.col("place") <= examples)
    if unit == "session":
        return shown.select(
            F.lit(unit).alias("unit"),
            "pattern_id",
            "user_id",
            F.col("near.session_start").alias("session_start"),
            F.col("near.distance").alias("distance"),
            F.lit(True).alias("is_example"),
        )
    marks = F.broadcast(shown.select("pattern_id", "user_id", F.lit(True).alias("mark")))
    marked = named.join(marks, ["pattern_id", "user_id"], "left")
    return marked.withColumn("is_example", F.coalesce("mark", F.lit(False))).drop("mark")


def keys_of(unit: str) -> list[str]:
    """Columns that tell rows of a unit apart."""
    return ["user_id", "session_start"] if unit == "session" else ["user_id"]
