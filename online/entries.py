"""What is kept of a person: rows of the tables as the server answers them, and which of them is the newest.

============ ======================= ==================================================================
kind         place                   body
============ ======================= ==================================================================
``features``  (one)                   the newest minute's feature row
``score``     (one)                   the newest scored minute, with reasons
``minute``    ``window_start``        score, percentile and verdict of a scored minute
``alert``     start, then id          an alert
``segment``   (one)                   the group that the person was in on the newest mined day
============ ======================= ==================================================================
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from features.definitions import FEATURE_NAMES
from features.tables import ALERTS, FEATURE_TABLE, PATTERN_MEMBERS, SCORES, Table
from online.store import Entry

FEATURES, SCORE, MINUTE, ALERT, SEGMENT = "features", "score", "minute", "alert", "segment"
SCORE_COLUMNS = (
    "anomaly_score",
    "anomaly_percentile",
    "threshold",
    "verdict",
    "reasons",
    "model_version",
    "scored_at",
)
"""What an answer says of a scored minute, besides which minute it is."""
PAST = ("window_start", "anomaly_score", "anomaly_percentile", "verdict", "model_version")
"""Of a scored minute what a history shows."""


def place_of(time: datetime) -> str:
    """A time as a place: places sort as times do."""
    return f"{int(time.timestamp()):012d}"


def of_features(rows: pa.Table) -> Iterator[Entry]:
    """Of feature rows, revisions of several minutes among them, each person's newest minute."""
    columns = ("user_id", "window_start", "session_start", "feature_version", *FEATURE_NAMES)
    for row, revision in _newest_of_each(rows, columns):
        body = {
            "user_id": row["user_id"],
            "window_start": row["window_start"],
            "session_start": row["session_start"],
            "feature_version": row["feature_version"],
            "features": {name: row[name] for name in FEATURE_NAMES},
        }
        yield Entry(row["user_id"], FEATURES, "", revision, orjson.dumps(body))


def of_scores(rows: pa.Table) -> Iterator[Entry]:
    """Of rows of scores each minute's, and each person's newest one with its reasons."""
    revisions = rows["batch_time"].cast(pa.int64()).to_pylist()
    seconds = pc.divide(rows["window_start"].cast(pa.int64()), 1_000_000).to_pylist()
    short = rows.select(PAST).to_pylist()
    for user, second, revision, row in zip(rows["user_id"].to_pylist(), seconds, revisions, short, strict=True):
        yield Entry(user, MINUTE, f"{second:012d}", revision, orjson.dumps(row))
    for row, revision in _newest_of_each(rows, ("user_id", "window_start", *SCORE_COLUMNS)):
        body = {name: row[name] for name in ("window_start", *SCORE_COLUMNS)}
        yield Entry(row["user_id"], SCORE, "", revision, orjson.dumps(body))


def of_alerts(rows: pa.Table) -> Iterator[Entry]:
    """An entry for each revision."""
    for row in rows.to_pylist():
        revision, place = _micros(row.pop("batch_time")), f"{place_of(row['session_start'])} {row['alert_id']}"
        row.pop("batch_id")
        yield Entry(row["user_id"], ALERT, place, revision, orjson.dumps(row))


def of_members(rows: pa.Table, segments: Mapping[str, Mapping[str, Any]]) -> Iterator[Entry]:
    """Of members of user segments, each one's; ``segments`` has what is said of a segment by its id."""
    users = rows.filter(pc.equal(rows["unit"], "user"))
    for row in users.select(["user_id", "pattern_id", "day"]).to_pylist():
        if (segment := segments.get(row["pattern_id"])) is not None:
            yield Entry(row["user_id"], SEGMENT, "", _micros(row["day"]), orjson.dumps(segment))


COLUMNS: dict[Table, Sequence[str]] = {
    FEATURE_TABLE: (
        "user_id", "window_start", "session_start", "feature_version", *FEATURE_NAMES, "batch_time",
    ),
    SCORES: ("user_id", "window_start", *SCORE_COLUMNS, "batch_time"),
    ALERTS: ALERTS.columns,
    PATTERN_MEMBERS: ("user_id", "unit", "pattern_id", "day"),
}  # fmt: skip
"""What is read of the tables."""


def _newest_of_each(rows: pa.Table, columns: Sequence[str]) -> Iterator[tuple[dict[str, Any], int]]:
    """Each person's row of the newest minute in its newest revision, and a number that grows with both."""
    if not rows.num_rows:
        return
    minutes = pc.divide(rows["window_start"].cast(pa.int64()), 60_000_000).to_numpy()
    revisions = rows["batch_time"].cast(pa.int64()).to_numpy()
    people = rows["user_id"].combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    order = np.lexsort((revisions, minutes, people))
    last = order[np.append(np.diff(people[order]) != 0, True)]
    for row, place in zip(rows.select(columns).take(last).to_pylist(), last.tolist(), strict=True):
        yield row, rank(int(minutes[place]), int(revisions[place]))


def rank(minute: int, revision: int) -> int:
    """A number of 63 bits that grows with the minute and, within one, with the time of its revision in microseconds.

    Minutes since 1970 have room in 28 bits until the year 2480. The revision's time counts from the minute on, in
    tenths of a second and no further than 109 years; of two that are closer the later commit is valid.
    """
    after = max(0, revision - minute * 60_000_000) // 100_000
    return (minute << 35) | min(after, (1 << 35) - 1)


def _micros(time: datetime) -> int:
    return round(time.timestamp() * 1_000_000)
