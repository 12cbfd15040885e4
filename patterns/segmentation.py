"""Which segment rows of sessions or users are in: learned from some of them, recognised from earlier days."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import csr_array

from patterns.acts import Act, counts_of
from patterns.context import Known, Options, Row
from patterns.people import Centre, People, learn_people
from patterns.segments import GLANCE, Clustering, Floats, is_glance, learn, new_id
from patterns.traits import TRAITS

FLAGGED = -2
"""Label of users who were mostly flagged."""


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


def is_single(segmentation: Segmentation) -> bool:
    """Whether all who can be compared are one segment."""
    match segmentation.learned:
        case None:
            return False
        case Clustering():
            return segmentation.learned.quality.segments == 1
        case People():
            return len(segmentation.learned) == 1


def learned_from(unit: str, rows: Rows) -> NDArray[np.bool_]:
    """Which rows teach: those with several events, of people."""
    if not len(rows.values):
        return np.zeros(0, bool)
    several = ~is_glance(unit, rows.values)
    return several if rows.is_flagged is None else several & ~rows.is_flagged


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
        people = np.flatnonzero(learned_from(unit, rows))
        learned = learn_people(rows.values[people], rows.counts[people], acts, options.max_segments, options.seed)
        if learned is not None:
            continued = learned.matched({name: Centre(each.acts, each.centre) for name, each in known.items()})
    ids = {GLANCE: f"{unit}-glance", FLAGGED: f"{unit}-flagged"}
    for place, before in enumerate(continued):
        ids[place] = before or new_id(unit, f"{day:%Y-%m-%d}", place)
    return Segmentation(unit, learned, ids)
