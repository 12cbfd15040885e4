"""The segments of a day's sessions or users: learned, recognised from earlier days, described, and who is in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql.types import StructType
from scipy.sparse import csr_array

from patterns import words
from patterns.acts import Act, Habits, counts_of
from patterns.context import Earlier, Known, Options, Row, Sample, shares
from patterns.people import Centre, People, learn_people
from patterns.segments import GLANCE, Clustering, Floats, is_glance, learn, new_id
from patterns.traits import TRAITS
from patterns.transitions import Walk
from patterns.trends import Day, trend

TYPICAL_PATHS = 3
TYPICAL_PAGES = 5
OPENING = 4
"""First steps of a session, by which typical paths are counted."""
FLAGGED = -2
"""Label of users who were mostly flagged."""
ACTION, KIND = 0, 1
"""Parts of an act."""


@dataclass(frozen=True)
class Groups:
    """Rows of the segments table, members (columns of pattern_members without the day), rows learned from, notes."""

    rows: list[Row]
    members: DataFrame
    learned: int
    notes: list[str]
    held: list[DataFrame]


@dataclass(frozen=True)
class Rows:
    """Rows of a unit.

    Attributes:
        values: traits; (rows, traits of the unit), NaN where unknown.
        counts: of users, how often each did each act; (rows, acts).
        is_flagged: of users, whether most of what was judged was flagged: who is told apart by the model already.
    """

    values: Floats
    counts: csr_array | None = None
    is_flagged: NDArray[np.bool_] | None = None

    @classmethod
    def of(cls, unit: str, columns: Mapping[str, pa.Array], acts: Sequence[Act]) -> Rows:
        """From Arrow's columns."""
        traits = [columns[trait.name].to_numpy(zero_copy_only=False).astype(np.float64) for trait in TRAITS[unit]]
        if unit == "session":
            return cls(np.column_stack(traits))
        counts = counts_of(columns["acts"], columns["times"], len(acts))
        return cls(np.column_stack(traits), counts, columns["is_flagged"].to_numpy(zero_copy_only=False).astype(bool))


@dataclass(frozen=True)
class Segmentation:
    """Segments by id: what was learned (None where all are glances), and the id of each of its labels."""

    unit: str
    learned: Clustering | People | None
    ids: Mapping[int, str]

    def labels(self, rows: Rows) -> tuple[list[str], Floats]:
        """Id of the segment, and distance from its centre, of rows."""
        labels, distances = np.full(len(rows.values), GLANCE), np.zeros(len(rows.values))
        match self.learned:
            case Clustering():
                labels, distances = self.learned.assign(rows.values)
            case People():
                assert rows.counts is not None
                labels, distances = self.learned.assign(rows.values, rows.counts)
        if rows.is_flagged is not None:
            labels = np.where(rows.is_flagged, FLAGGED, labels)
        return [self.ids[label] for label in labels.tolist()], distances

    def place(self, segment: str) -> int:
        """The label that has this id."""
        return next(label for label, name in self.ids.items() if name == segment)

    def facts(self, segment: str) -> Row:
        """The segment's centre, and the quality of the whole."""
        place = self.place(segment)
        facts: Row = {"centre": [], "acts": None, "silhouette": None, "stability": None}
        match self.learned:
            case Clustering():
                quality = self.learned.quality
                facts["silhouette"] = None if np.isnan(quality.silhouette) else quality.silhouette
                facts["stability"] = None if np.isnan(quality.stability) else quality.stability
            case People():
                facts["stability"] = self.learned.stability
        if self.learned is None or place < 0:
            return facts
        facts["centre"] = [float(each) for each in self.learned.centres[place]]
        if isinstance(self.learned, People):
            facts["acts"] = [
                {"action": action, "page": kind, "share": share, "overall": overall}
                for (action, kind), share, overall in zip(
                    self.learned.acts, self.learned.habits[place].tolist(), self.learned.overall.tolist(), strict=True
                )
                if share > 0 or overall > 0
            ]
        return facts


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
    described = []
    for each in _describe(segmentation, training, rows, labels, sample, known):
        segment = each["segment_id"]
        before = known.get(segment)
        count = counts[segment]
        days = [Day(before.members.get(one, 0) if before else 0, all_[unit]) for one, all_ in earlier.days.items()]
        mean, name = trend(count["members"], total, days, is_first=not earlier.days)
        described.append(
            {
                "day": day,
                "unit": unit,
                **each,
                "members": count["members"],
                **shares(count["members"] / total, mean, name, count["flagged"], count["scored"]),
                "first_day": before.first_day if before else day,
            }
        )
    described.sort(key=lambda row: (-row["members"], row["segment_id"]))
    learned = int(_learned_from(unit, rows).sum())
    notes = []
    if len(rows.values) < total:
        notes.append(
            f"Segments of {unit}s were learned from {len(rows.values):,} of {total:,}, those of a sample of users."
        )
    if rows.is_flagged is not None and rows.is_flagged.any():
        notes.append("Kinds of users are those of people: who was mostly flagged is told apart and taught nothing.")
    if is_single(segmentation):
        notes.append(f"The {unit}s form no distinct groups: all with more than one event are one segment.")
    return Groups(described, _members(unit, assigned, options.examples), learned, notes, [assigned])


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


def is_single(segmentation: Segmentation) -> bool:
    """Whether all who can be compared are one segment."""
    match segmentation.learned:
        case None:
            return False
        case Clustering():
            return segmentation.learned.quality.segments == 1
        case People():
            return len(segmentation.learned) == 1


def _learned_from(unit: str, rows: Rows) -> NDArray[np.bool_]:
    if not len(rows.values):
        return np.zeros(0, bool)
    several = ~is_glance(unit, rows.values)
    return several if rows.is_flagged is None else several & ~rows.is_flagged


def _one(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def find(
    day: datetime, unit: str, rows: Rows, known: Mapping[str, Known], options: Options, acts: tuple[Act, ...] = ()
) -> Segmentation:
    """Learn segments from rows; those that go on from an earlier day keep its id."""
    learned: Clustering | People | None
    continued: list[str | None] = []
    if rows.counts is None:
        centres = {name: each.centre for name, each in known.items()}
        learned = learn(unit, rows.values, centres, options.max_segments, options.seed)
        if learned is not None:
            continued = learned.matched(centres, rows.values)
    else:
        people = np.flatnonzero(_learned_from(unit, rows))
        learned = learn_people(rows.values[people], rows.counts[people], acts, options.max_segments, options.seed)
        if learned is not None:
            continued = learned.matched({name: Centre(each.acts, each.centre) for name, each in known.items()})
    ids = {GLANCE: f"{unit}-glance", FLAGGED: f"{unit}-flagged"}
    for place, before in enumerate(continued):
        ids[place] = before or new_id(unit, f"{day:%Y-%m-%d}", place)
    return Segmentation(unit, learned, ids)


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


def _describe(
    segmentation: Segmentation,
    training: pa.Table,
    rows: Rows,
    labels: np.ndarray[Any, Any],
    sample: Sample,
    known: Mapping[str, Known],
) -> list[Row]:
    """Name, description, profile, pages and paths of each segment; the largest is named first."""
    unit, ways = segmentation.unit, _ways(segmentation.unit, training, labels, sample)
    names = {each.name for each in known.values()} | set(words.BY_RULE)
    learned_from = _learned_from(unit, rows)
    compared = rows.values[learned_from] if learned_from.any() else rows.values
    found = []
    for segment, _ in sorted(Counter(labels.tolist()).items(), key=lambda item: (-item[1], item[0])):
        profile = words.profile(unit, rows.values[labels == segment], compared)
        name, description = _said(segmentation, segment, profile, names)
        if segment in known:
            name = known[segment].name
        names.add(name)
        found.append(
            {
                "segment_id": segment,
                "name": name,
                "description": description,
                "profile": [each.row() for each in profile],
                **_pages_and_paths(ways.get(segment, [])),
                **segmentation.facts(segment),
            }
        )
    return found


def _said(
    segmentation: Segmentation, segment: str, profile: Sequence[words.Contrast], used: Collection[str]
) -> tuple[str, str]:
    """A new name and the description of a segment."""
    unit, place = segmentation.unit, segmentation.place(segment)
    if place == GLANCE:
        return words.GLANCE_NAME, words.GLANCE_DESCRIPTION[unit]
    if place == FLAGGED:
        return words.FLAGGED_NAME, words.FLAGGED_DESCRIPTION
    if not isinstance(segmentation.learned, People):
        name = words.EVERYBODY if is_single(segmentation) else words.segment_name(profile, used)
        return name, words.segment_description(unit, profile)
    kinds = segmentation.learned
    habit = words.Habit(
        kinds.told(place, ACTION), kinds.told(place, KIND), kinds.acts_told(place), kinds.is_motley(place)
    )
    name = words.EVERYBODY if len(kinds) == 1 else words.people_name(habit, profile, used)
    return name, words.people_description(habit, profile)


def _ways(unit: str, training: pa.Table, labels: np.ndarray[Any, Any], sample: Sample) -> dict[str, list[Walk]]:
    """The walks of the sample by segment."""
    owners: list[Any]
    users = training["user_id"].to_pylist()
    if unit == "user":
        of_user = dict(zip(users, labels, strict=True))
        owners = [of_user.get(user) for user in sample.users]
    else:
        times = [time.astimezone(UTC) for time in training["session_start"].to_pylist()]
        of_session = dict(zip(zip(users, times, strict=True), labels, strict=True))
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
