"""The segments of a day's sessions or users: learned, recognised from earlier days, described, and who is in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from patterns import words
from patterns.context import Earlier, Known, Options, Row, Sample, shares
from patterns.segments import GLANCE, Clustering, Floats, is_glance, learn, new_id
from patterns.traits import TRAITS
from patterns.transitions import Walk
from patterns.trends import Day, trend

TYPICAL_PATHS = 3
TYPICAL_PAGES = 5
OPENING = 4
"""First steps of a session, by which typical paths are counted."""


@dataclass(frozen=True)
class Groups:
    """Rows of the segments table, members (columns of pattern_members without the day), rows learned from, notes."""

    rows: list[Row]
    members: DataFrame
    learned: int
    notes: list[str]
    held: list[DataFrame]


@dataclass(frozen=True)
class Segmentation:
    """Segments by id: the clustering (None where all are glances), and the id of each of its labels."""

    unit: str
    clustering: Clustering | None
    ids: Mapping[int, str]

    def labels(self, values: Floats) -> tuple[list[str], Floats]:
        """Id of the segment, and distance from its centre, of rows of traits."""
        if self.clustering is None:
            return [self.ids[GLANCE]] * len(values), np.zeros(len(values))
        labels, distances = self.clustering.assign(values)
        return [self.ids[label] for label in labels.tolist()], distances

    def facts(self, segment: str) -> Row:
        """The segment's centre, and the quality of the whole."""
        if self.clustering is None:
            return {"centre": [], "silhouette": None, "stability": None}
        quality = self.clustering.quality
        place = next(label for label, name in self.ids.items() if name == segment)
        return {
            "centre": [] if place == GLANCE else [float(each) for each in self.clustering.centres[place]],
            "silhouette": None if np.isnan(quality.silhouette) else quality.silhouette,
            "stability": None if np.isnan(quality.stability) else quality.stability,
        }


def groups(
    day: datetime, unit: str, traits: DataFrame, few: Column, sample: Sample, earlier: Earlier, options: Options
) -> Groups:
    """Segment the rows of ``traits`` (keys, traits of ``unit``, scored, flagged); ``few`` says which to learn from."""
    training = traits.where(few).toArrow().to_pandas().sort_values(keys_of(unit), ignore_index=True)
    values = training[[trait.name for trait in TRAITS[unit]]].to_numpy(np.float64)
    known = {each.segment_id: each for each in earlier.segments if each.unit == unit}
    segmentation = find(day, unit, values, known, options)
    assigned = assign(traits, segmentation).persist(StorageLevel.MEMORY_AND_DISK)
    counted = assigned.groupBy("pattern_id").agg(
        F.count("*").alias("members"),
        F.count_if("scored").alias("scored"),
        F.count_if(F.col("scored") & F.col("flagged")).alias("flagged"),
    )
    counts = {row["pattern_id"]: row for row in counted.collect()}
    total = sum(row["members"] for row in counts.values())
    labels = np.array(segmentation.labels(values)[0], dtype=object)
    rows = []
    for described in _describe(segmentation, training, values, labels, sample, known):
        segment = described["segment_id"]
        before = known.get(segment)
        count = counts[segment]
        days = [Day(before.members.get(one, 0) if before else 0, all_[unit]) for one, all_ in earlier.days.items()]
        mean, name = trend(count["members"], total, days, is_first=not earlier.days)
        rows.append(
            {
                "day": day,
                "unit": unit,
                **described,
                "members": count["members"],
                **shares(count["members"] / total, mean, name, count["flagged"], count["scored"]),
                "first_day": before.first_day if before else day,
            }
        )
    rows.sort(key=lambda row: (-row["members"], row["segment_id"]))
    learned = int((~is_glance(unit, values)).sum()) if len(values) else 0
    notes = []
    if len(training) < total:
        notes.append(
            f"Segments of {unit}s were learned from {len(training):,} of {total:,}, those of a sample of users."
        )
    if segmentation.clustering is not None and segmentation.clustering.quality.segments == 1:
        notes.append(f"The {unit}s form no distinct groups: all with more than one event are one segment.")
    return Groups(rows, _members(unit, assigned, options.examples), learned, notes, [assigned])


def find(day: datetime, unit: str, values: Floats, known: Mapping[str, Known], options: Options) -> Segmentation:
    """Learn segments from rows of traits; those that go on from an earlier day keep its id."""
    centres = {name: each.centre for name, each in known.items()}
    clustering = learn(unit, values, centres, options.max_segments, options.seed)
    ids = {GLANCE: f"{unit}-glance"}
    if clustering is not None:
        for place, before in enumerate(clustering.matched(centres, values)):
            ids[place] = before or new_id(unit, f"{day:%Y-%m-%d}", place)
    return Segmentation(unit, clustering, ids)


def assign(traits: DataFrame, segmentation: Segmentation) -> DataFrame:
    """``traits`` with pattern_id (the segment's) and distance; of the columns only keys, scored and flagged stay."""
    keys, names = keys_of(segmentation.unit), [trait.name for trait in TRAITS[segmentation.unit]]
    verdicts = [F.coalesce(name, F.lit(False)).alias(name) for name in ("scored", "flagged")]
    chosen = traits.select(*keys, *verdicts, *names)
    kept = [*keys, "scored", "flagged"]
    schema = StructType([chosen.schema[name] for name in kept]).add("pattern_id", "string").add("distance", "double")

    def label(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            columns = [batch.column(name).to_numpy(zero_copy_only=False).astype(np.float64) for name in names]
            labels, distances = segmentation.labels(np.column_stack(columns))
            arrays = [*[batch.column(name) for name in kept], pa.array(labels, pa.string()), pa.array(distances)]
            yield pa.RecordBatch.from_arrays(arrays, names=schema.fieldNames())

    return chosen.mapInArrow(label, schema)


def _describe(
    segmentation: Segmentation,
    training: pd.DataFrame,
    values: Floats,
    labels: np.ndarray[Any, Any],
    sample: Sample,
    known: Mapping[str, Known],
) -> list[Row]:
    """Name, description, profile, pages and paths of each segment; the largest is named first."""
    unit, ways = segmentation.unit, _ways(segmentation.unit, training, labels, sample)
    names = {each.name for each in known.values()} | {words.GLANCE_NAME}
    is_one = segmentation.clustering is not None and segmentation.clustering.quality.segments == 1
    several = ~is_glance(unit, values)
    compared = values[several] if several.any() else values
    rows = []
    for segment, _ in sorted(Counter(labels.tolist()).items(), key=lambda item: (-item[1], item[0])):
        profile = words.profile(unit, values[labels == segment], compared)
        if segment == segmentation.ids[GLANCE]:
            name, description = words.GLANCE_NAME, words.GLANCE_DESCRIPTION[unit]
        else:
            fresh = words.EVERYBODY if is_one else words.segment_name(profile, names)
            name = known[segment].name if segment in known else fresh
            description = words.segment_description(unit, profile)
        names.add(name)
        rows.append(
            {
                "segment_id": segment,
                "name": name,
                "description": description,
                "profile": [each.row() for each in profile],
                **_pages_and_paths(ways.get(segment, [])),
                **segmentation.facts(segment),
            }
        )
    return rows


def _ways(unit: str, training: pd.DataFrame, labels: np.ndarray[Any, Any], sample: Sample) -> dict[str, list[Walk]]:
    """The walks of the sample by segment."""
    owners: list[Any]
    if unit == "user":
        of_user = dict(zip(training["user_id"], labels, strict=True))
        owners = [of_user.get(user) for user in sample.users]
    else:
        times = [time.to_pydatetime().astimezone(UTC) for time in training["session_start"]]
        of_session = dict(zip(zip(training["user_id"], times, strict=True), labels, strict=True))
        starts = [time.astimezone(UTC) for time in sample.starts]
        owners = [of_session.get(key) for key in zip(sample.users, starts, strict=True)]
    ways: dict[str, list[Walk]] = {}
    for segment, walk in zip(owners, sample.walks, strict=True):
        if segment is not None:
            ways.setdefault(segment, []).append(walk)
    return ways


def _pages_and_paths(walks: Sequence[Walk]) -> Row:
    """The kinds of pages most of the walks touch, and how most of them begin."""
    pages = Counter(step for walk in walks for step in set(walk.steps))
    openings = Counter(walk.steps[:OPENING] for walk in walks)
    commonest = sorted(openings.items(), key=lambda item: (-item[1], item[0]))[:TYPICAL_PATHS]
    used = sorted(pages.items(), key=lambda item: (-item[1], item[0]))[:TYPICAL_PAGES]
    return {
        "pages": [{"page": page, "share": count / len(walks)} for page, count in used],
        "paths": [f"{words.path_words(steps)} ({count / len(walks):.0%})" for steps, count in commonest],
    }


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
