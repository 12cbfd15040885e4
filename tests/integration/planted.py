"""A small site whose visitors are known: four kinds of people, their ways planted, noise between."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from pyspark.sql import DataFrame, SparkSession

from features.tables import EVENTS, SCORES

SHOPPERS, READERS, CLICKERS, NIGHT_READERS = "shopper", "reader", "clicker", "night reader"
WAY = ("/search", "/product/*", "/cart", "/checkout")
"""Planted in every shopper's session, in this order, with other pages between."""


@dataclass(frozen=True)
class Act:
    """One event."""

    user: str
    action: str
    page: str
    time: datetime


def people(day: datetime, each: int, seed: int, kinds: tuple[str, ...]) -> tuple[list[Act], dict[str, str]]:
    """One session of ``each`` users of every kind on ``day``, and each user's kind."""
    rng = np.random.default_rng(seed)
    acts: list[Act] = []
    truth = {}
    for kind in kinds:
        for number in range(each):
            user = f"{kind.replace(' ', '-')}-{number}"
            truth[user] = kind
            hour = rng.uniform(1, 3) if kind == NIGHT_READERS else rng.uniform(9, 20)
            at = day + timedelta(hours=float(hour))
            for action, page, pause in _session(kind, rng):
                acts.append(Act(user, action, page, at))
                at += timedelta(seconds=max(1.0, float(pause)))
    return acts, truth


def _session(kind: str, rng: np.random.Generator) -> list[tuple[str, str, float]]:
    def article() -> str:
        return f"/article/{rng.integers(1, 400)}"

    if kind == CLICKERS:
        return [("click", "/game", rng.normal(3, 0.5)) for _ in range(rng.integers(50, 70))]
    if kind == READERS:
        return [("view", article(), rng.lognormal(3.6, 0.6)) for _ in range(rng.integers(5, 9))]
    if kind == NIGHT_READERS:
        return [("view", article(), rng.lognormal(3.6, 0.6)) for _ in range(rng.integers(14, 22))]
    steps = [("interaction", "/search", 8.0)]
    steps += [("view", f"/product/{rng.integers(1, 900)}", 12.0) for _ in range(3)]
    steps += [("view", "/help", 9.0)] if rng.random() < 0.4 else []
    steps += [("interaction", "/cart", 6.0)]
    steps += [("view", article(), 30.0)] if rng.random() < 0.3 else []
    steps += [("interaction", "/checkout", 15.0), ("interaction", "/checkout", 20.0), ("interaction", "/search", 9.0)]
    return [(action, page, pause * rng.lognormal(0, 0.4)) for action, page, pause in steps]


def event_rows(spark: SparkSession, acts: list[Act], first_offset: int = 0) -> DataFrame:
    """``acts`` as rows of the events table."""
    fixed: dict[str, Any] = dict.fromkeys(EVENTS.columns)
    rows = []
    for offset, act in enumerate(acts, first_offset):
        own = {"user_id": act.user, "action": act.action, "page": act.page, "timestamp": act.time}
        place = {"topic": "t", "partition": 0, "offset": offset, "ingested_at": act.time, "ingest_id": "11-22:0"}
        rows.append([{**fixed, **own, **place}[name] for name in EVENTS.columns])
    return spark.createDataFrame(rows, EVENTS.schema).coalesce(1)


def score_rows(spark: SparkSession, sessions: list[tuple[str, datetime, str]]) -> DataFrame:
    """Scores: user, the minute that opens the session, and the verdict."""
    fixed: dict[str, Any] = dict.fromkeys(SCORES.columns)
    rows = []
    for user, start, verdict in sessions:
        own = {
            "user_id": user, "window_start": start, "session_start": start, "session_is_split": False,
            "verdict": verdict, "model_name": "m", "model_version": "1", "threshold": 0.5, "feature_version": "1",
            "scored_at": start, "batch_time": start, "batch_id": "1:1",
        }  # fmt: skip
        rows.append([{**fixed, **own}[name] for name in SCORES.columns])
    return spark.createDataFrame(rows, SCORES.schema).coalesce(1)
