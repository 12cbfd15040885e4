"""What is kept of a person: rows of the tables as the server answers them, and which of them is the newest.

============= ======================= =================================================================
kind          place                   body
============= ======================= =================================================================
``features``  (one)                   the newest minute's feature row
``score``     (one)                   the newest scored minute, with reasons
``minute``    ``window_start``        score, percentile and verdict of a scored minute
``alert``     start, then id          an alert
``segment``   (one)                   the group that the person was in on the newest mined day
============= ======================= =================================================================
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from features.definitions import FEATURE_NAMES
from features.tables import ALERTS, FEATURE_TABLE, PATTERN_MEMBERS, SCORES, Table
from online.store import Entry, Kept

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
ABOUT = ("user_id", "window_start", "session_start", "feature_version")
IN_FEATURES, IN_SCORE = (*ABOUT, *FEATURE_NAMES), ("window_start", *SCORE_COLUMNS)
"""What is in the bodies of these kinds, in this order."""
LAYOUT = sha256(" ".join((*IN_FEATURES, *IN_SCORE, *PAST)).encode()).hexdigest()[:16]
"""Changes with what is in bodies: a view of another layout cannot be read."""


def place_of(seconds: float) -> str:
    """A time in seconds since 1970 as a place: places sort as times do."""
    return f"{max(0, int(seconds)):012d}"


def of_features(rows: pa.Table) -> Iterator[Entry]:
    """Of feature rows, revisions of several minutes among them, each person's newest minute."""
    newest, ranks = _newest_of_each(rows)
    for user, revision, body in zip(newest["user_id"].to_pylist(), ranks, _bodies(newest, IN_FEATURES), strict=True):
        yield Entry(user, FEATURES, "", revision, body)


def of_scores(rows: pa.Table) -> Iterator[Entry]:
    """Of rows of scores each minute's, and each person's newest one with its reasons."""
    seconds = pc.divide(rows["window_start"].cast(pa.int64()), 1_000_000).to_pylist()
    about = rows["user_id"].to_pylist(), seconds, rows["batch_time"].cast(pa.int64()).to_pylist()
    for user, second, revision, body in zip(*about, _bodies(rows, PAST[1:]), strict=True):
        yield Entry(user, MINUTE, place_of(second), revision, body)
    newest, ranks = _newest_of_each(rows)
    for user, revision, body in zip(newest["user_id"].to_pylist(), ranks, _bodies(newest, IN_SCORE), strict=True):
        yield Entry(user, SCORE, "", revision, body)


def of_alerts(rows: pa.Table) -> Iterator[Entry]:
    """An entry for each revision."""
    for row in rows.to_pylist():
        revision = _micros(row.pop("batch_time"))
        row.pop("batch_id")
        place = f"{place_of(row['session_start'].timestamp())} {row['alert_id']}"
        yield Entry(row["user_id"], ALERT, place, revision, orjson.dumps(row))


def of_members(rows: pa.Table, segments: Mapping[str, Mapping[str, Any]]) -> Iterator[Entry]:
    """Of members of user segments, each one's; ``segments`` has what is said of a segment by its id."""
    users = rows.filter(pc.equal(rows["unit"], "user"))
    for row in users.select(["user_id", "pattern_id", "day"]).to_pylist():
        if (segment := segments.get(row["pattern_id"])) is not None:
            yield Entry(row["user_id"], SEGMENT, "", _micros(row["day"]), orjson.dumps(segment))


COLUMNS: dict[Table, Sequence[str]] = {
    FEATURE_TABLE: (*IN_FEATURES, "batch_time"),
    SCORES: ("user_id", *IN_SCORE, "batch_time"),
    ALERTS: ALERTS.columns,
    PATTERN_MEMBERS: ("user_id", "unit", "pattern_id", "day"),
}
"""What is read of the tables."""


def features_in(kept: Kept) -> dict[str, Any]:
    """A feature row as an answer has it, with ``user_id`` and ``feature_version``."""
    values = orjson.loads(kept.body)
    about = dict(zip(IN_FEATURES, values[: len(ABOUT)], strict=False))
    return {**about, "features": dict(zip(FEATURE_NAMES, values[len(ABOUT) :], strict=True))}


def score_in(kept: Kept) -> dict[str, Any]:
    """What an answer says of a scored minute."""
    return dict(zip(IN_SCORE, orjson.loads(kept.body), strict=True))


def minute_in(kept: Kept) -> dict[str, Any]:
    """A scored minute of a history."""
    start = datetime.fromtimestamp(int(kept.place), UTC)
    return {PAST[0]: start, **dict(zip(PAST[1:], orjson.loads(kept.body), strict=True))}


def _bodies(rows: pa.Table, columns: Sequence[str]) -> Iterator[bytes]:
    """Of each row its values in this order, as a list in JSON: without names it is a third as long."""
    return map(orjson.dumps, zip(*(rows[name].to_pylist() for name in columns), strict=True))


def _newest_of_each(rows: pa.Table) -> tuple[pa.Table, list[int]]:
    """Each person's row of the newest minute in its newest revision, and numbers that grow with both."""
    minutes = pc.divide(rows["window_start"].cast(pa.int64()), 60_000_000).to_numpy()
    revisions = rows["batch_time"].cast(pa.int64()).to_numpy()
    people = rows["user_id"].combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    order = np.lexsort((revisions, minutes, people))
    last = order[np.append(np.diff(people[order]) != 0, True)] if len(order) else order
    ranks = [rank(*both) for both in zip(minutes[last].tolist(), revisions[last].tolist(), strict=True)]
    return rows.take(last), ranks


def rank(minute: int, revision: int) -> int:
    """A number of 63 bits that grows with the minute and, within one, with the time of its revision in microseconds.

    Minutes since 1970 have room in 28 bits until the year 2480. The revision's time counts from the minute on, in
    tenths of a second and no further than 109 years; of two that are closer the later commit is valid.
    """
    after = max(0, revision - minute * 60_000_000) // 100_000
    return (minute << 35) | min(after, (1 << 35) - 1)


def _micros(time: datetime) -> int:
    return round(time.timestamp() * 1_000_000)
