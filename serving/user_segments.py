"""Which kind of users a user was of, on the newest mined day."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from features.tables import PATTERN_MEMBERS, SEGMENTS
from lake.reader import LakeReader


def segment_of(lake: LakeReader, who: pa.Array) -> dict[str, Any] | None:
    """The segment of users that the user was in on the newest mined day; None where that is not known."""
    newest = lake.newest_time(PATTERN_MEMBERS)
    if newest is None:
        return None
    field = pc.field
    among = field("user_id").isin(who) & (field("unit") == "user")
    member = lake.rows(PATTERN_MEMBERS, columns=["day", "pattern_id"], since=newest, where=among).to_pylist()
    if not member:
        return None
    is_it = (field("unit") == "user") & (field("segment_id") == member[0]["pattern_id"])
    columns = ["day", "segment_id", "name", "description", "share"]
    segments: list[dict[str, Any]] = lake.rows(SEGMENTS, columns=columns, since=newest, where=is_it).to_pylist()
    return segments[0] if segments else None
