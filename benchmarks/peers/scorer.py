"""Rows to durable scores for every peer: the champion by scikit-learn, a Delta table by deltalake, a note of progress.

The pipeline is the platform's own, loaded with joblib by the same scikit-learn; rows with too few events are written
without a score, as the platform does.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
from deltalake import write_deltalake

from benchmarks.peers.person import FEATURES, Row

MIN_EVENTS = 5
"""Sessions with fewer cannot be scored."""
ROWS_A_WRITE = 50_000
"""Worth a write: a caller that gets rows in smaller parts collects so many."""


class Scorer:
    """Scores rows and appends them to the table ``scores`` of a folder, one commit for each call."""

    def __init__(self, folder: Path, worker: int) -> None:
        held = joblib.load(folder.parent / "champion.joblib")
        self.pipeline, self.names, self.threshold = held["pipeline"], held["names"], held["threshold"]
        self.table, self.note = folder / "scores", folder / f"progress-{worker}.json"
        self.events = self.rows = self.late = 0
        self.first_commit = 0.0
        self.ready = time.time()
        self.tell()

    def write(self, users: Sequence[str], rows: Sequence[Row], *, events: int) -> None:
        """Score the rows of these users, append them, and note that so many further events are done."""
        if rows:
            write_deltalake(str(self.table), self.scored(users, rows), mode="append")
        self.note_written(len(rows), events=events)

    def note_written(self, rows: int, *, events: int) -> None:
        """Note that so many rows of so many further events are durable."""
        self.events += events
        self.rows += rows
        if rows:
            self.first_commit = self.first_commit or time.time()
        self.tell()

    def scored(self, users: Sequence[str], rows: Sequence[Row]) -> pa.Table:
        """The rows with score and verdict."""
        frame = pd.DataFrame(np.array(rows, np.float64), columns=["minute", *FEATURES])
        scorable = np.flatnonzero(frame["session_events"].to_numpy() >= MIN_EVENTS)
        scores = np.full(len(frame), np.nan)
        if len(scorable):
            scores[scorable] = self.pipeline.predict(frame[self.names].iloc[scorable])
        verdicts = np.where(
            np.isnan(scores), "insufficient_data", np.where(scores >= self.threshold, "anomaly", "normal")
        )
        minutes = frame.pop("minute").to_numpy().astype(np.int64) * 60_000_000
        columns: dict[str, Any] = {
            "user_id": pa.array(users, pa.string()),
            "window_start": pa.array(minutes, pa.timestamp("us", "UTC")),
            **{name: frame[name].to_numpy() for name in FEATURES},
            "anomaly_score": pa.array(scores, from_pandas=True),
            "verdict": verdicts,
            "scored_at": pa.array(np.full(len(frame), time.time_ns() // 1000), pa.timestamp("us", "UTC")),
        }
        return pa.table(columns)

    def tell(self) -> None:
        """Note what is durable, in one step: the benchmark may stop us at any time."""
        progress = {
            "ready": self.ready, "first": self.first_commit, "last": time.time(),
            "events": self.events, "rows": self.rows, "late": self.late,
        }  # fmt: skip
        fresh = self.note.with_suffix(".new")
        fresh.write_text(json.dumps(progress), encoding="utf-8")
        fresh.replace(self.note)


class Newest:
    """The newest row of each user and minute, for frameworks that give few at a time: the caller says when to write.

    Attributes:
        events: how many were taken since the last write.
        rows: what they made, by user and minute.
    """

    def __init__(self, scorer: Scorer) -> None:
        self.scorer, self.events = scorer, 0
        self.rows: dict[tuple[str, int], Row] = {}

    def add(self, user: str, rows: Sequence[Row], events: int) -> None:
        """Keep what so many further events of a user have made."""
        self.events += events
        for row in rows:
            self.rows[user, row[0]] = row

    def flush(self) -> None:
        """Score and write what there is."""
        self.scorer.write([user for user, _ in self.rows], list(self.rows.values()), events=self.events)
        self.events, self.rows = 0, {}
