"""Segments in words and figures: name, description, profile, the pages and ways of their members."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC
from typing import Any

import numpy as np
import pyarrow as pa

from patterns import words
from patterns.context import Known, Row, Sample
from patterns.people import People
from patterns.segmentation import FLAGGED, Rows, Segmentation, is_single, learned_from
from patterns.segments import GLANCE
from patterns.transitions import Walk

TYPICAL_PATHS = 3
TYPICAL_PAGES = 5
OPENING = 4
"""First steps of a session, by which typical paths are counted."""
ACTION, KIND = 0, 1
"""Parts of an act."""


def described(
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
    taught = learned_from(unit, rows)
    compared = rows.values[taught] if taught.any() else rows.values
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
