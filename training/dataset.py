"""Feature rows to the rows a model learns from: those that can be scored, no user counting too much, a bounded number.

A user who is active all day has hundreds of rows, a bot thousands, an ordinary visitor ten. Taken as they are, the
busiest would define what is normal: twenty rows of one bot in every subsample make a dense place, and the bot looks
ordinary. So a user gives at most as many rows as the user at the 95th percentile (and at most twenty times the
median user), picked by a hash.

Where that leaves more rows than may be taken, user sessions are drawn by a hash and taken whole: the strangest minute
of a session is not that of some of its minutes, nor is its last one. What was left out is not forgotten: ``weight``
says how many rows of the table each one stands for, and ``session_weight`` how many sessions its session, so that
thresholds still speak of the traffic as it is.

The draw happens in Spark, before a row comes to Python, and the number of rows is exact. It depends on the rows' keys
and the seed only, not on partitions, files or the order of arrival.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from features.definitions import FEATURE_NAMES, FEATURE_VERSION
from features.errors import TooFewRows

BUSY_PERCENTILE = 0.95
TIMES_MEDIAN = 20.0
MIN_CAP = 60.0
"""Rows any user may give: an hour of minutes."""

BUCKETS = 4096
"""Parts that hashes of sessions are counted by, to find how many of them give the rows that may be taken."""

DAY_SECONDS = 86400.0
MINUTE_SECONDS = 60


@dataclass(frozen=True)
class TrainingSample:
    """Training rows and how they came about.

    ``rows``: the features as doubles (NaN where unknown), ``user_id`` and ``session_start`` as numbers that only tell
    users and sessions apart, ``weight`` and ``session_weight``; sorted by key. ``seen`` counts the rows given less the
    excluded ones, ``scorable`` those of them that can be scored; ``first`` and ``last`` are the first and last minute
    of these. ``how`` says in words which of them were taken.
    """

    rows: pd.DataFrame
    seen: int
    scorable: int
    users: int
    capped_users: int
    rows_per_user: float
    how: str
    first: datetime
    last: datetime

    @property
    def days(self) -> float:
        """Length of the time the rows come from, the last minute included."""
        return ((self.last - self.first).total_seconds() + MINUTE_SECONDS) / DAY_SECONDS

    def counts(self) -> dict[str, float]:
        """The numbers, by name, for a run's metrics."""
        return {
            "rows_seen": float(self.seen),
            "rows_judged": float(self.scorable),
            "rows_taken": float(len(self.rows)),
            "users_judged": float(self.users),
            "users_capped": float(self.capped_users),
            "rows_per_user_cap": self.rows_per_user,
        }

    def parameters(self) -> dict[str, object]:
        """How the rows were chosen, for a run's parameters."""
        capped = f"users with more than {self.rows_per_user:,.0f} rows give so many, by a hash of user and minute"
        return {"rows_available": self.scorable, "rows_used": len(self.rows), "sampled": f"{capped}; {self.how}"}

    def describe(self) -> str:
        """One line for people."""
        return (
            f"{len(self.rows):,} of {self.scorable:,} judged rows ({self.seen:,} seen) of {self.users:,} users, "
            f"{self.first:%Y-%m-%d %H:%M} to {self.last:%Y-%m-%d %H:%M} UTC; {self.capped_users:,} busy users "
            f"give {self.rows_per_user:,.0f} rows each; {self.how}"
        )


def training_rows(
    features: DataFrame,
    least: int,
    most: int,
    seed: int,
    excluded: DataFrame | None = None,
    names: Sequence[str] = FEATURE_NAMES,
) -> TrainingSample:
    """Take training rows from the newest revisions of ``features``.

    Args:
        features: columns of the features table, one row per user and minute.
        least: fewest events in the session for a row that can be scored.
        most: most rows taken.
        seed: another seed gives another sample.
        excluded: what feedback confirmed as anomalous: user_id, first_window_start and last_window_start (inclusive).
        names: the features that are needed; a million rows of all of them take twice the memory of a model's own.

    Raises:
        TooFewRows: no row can be scored.
    """
    kept = features if excluded is None else _without(features, excluded)
    can_be_scored = (F.col("session_events") >= least) & (F.col("feature_version") == FEATURE_VERSION)
    scorable = kept.where(can_be_scored)
    per_user = _per_user(kept, can_be_scored).persist()
    try:
        totals = _totals(per_user)
        if not totals["seen"]:
            raise TooFewRows("There are no feature rows to learn from: no event was accepted, or none is folded yet.")
        if not totals["rows"]:
            raise TooFewRows(
                f"None of {totals['seen']:,.0f} feature rows can be judged: sessions need {least} events and rows the "
                f"feature version {FEATURE_VERSION}. Let more events come in, or widen the time range; rows of an "
                "earlier version are renewed by python -m jobs.backfill_features."
            )
        under_cap = _under_cap(scorable, per_user, totals["cap"], seed, names)
        share = _share_of_sessions(under_cap, most) if totals["under_cap"] > most else 1.0
        sample = under_cap.where(F.col("draw") < share)
        rows, how = _bounded(sample.toArrow().to_pandas(split_blocks=True, self_destruct=True), most, totals, share)
    finally:
        per_user.unpersist()
    return TrainingSample(
        rows=rows,
        seen=int(totals["seen"]),
        scorable=int(totals["rows"]),
        users=int(totals["users"]),
        capped_users=int(totals["capped"]),
        rows_per_user=totals["cap"],
        how=how,
        first=datetime.fromtimestamp(totals["first"], UTC),
        last=datetime.fromtimestamp(totals["last"], UTC),
    )


def _without(features: DataFrame, excluded: DataFrame) -> DataFrame:
    """Rows that lie in no excluded range of their user."""
    ranges = excluded.select(
        F.col("user_id").alias("_user"),
        F.col("first_window_start").alias("_from"),
        F.col("last_window_start").alias("_to"),
    )
    inside = (F.col("user_id") == F.col("_user")) & F.col("window_start").between(F.col("_from"), F.col("_to"))
    return features.join(ranges, inside, how="left_anti")


def _per_user(features: DataFrame, can_be_scored: Column) -> DataFrame:
    """Rows seen, rows that can be scored, and the first and last minute of those, per user."""
    minute = F.when(can_be_scored, F.unix_seconds("window_start"))
    return features.groupBy("user_id").agg(
        F.count("*").alias("seen"),
        F.count_if(can_be_scored).alias("rows"),
        F.min(minute).alias("first"),
        F.max(minute).alias("last"),
    )


def _totals(per_user: DataFrame) -> dict[str, float]:
    """Rows, users, the cap on rows per user, rows under the cap, and the time range in seconds since 1970."""
    rows = F.when(F.col("rows") > 0, F.col("rows"))
    spread = per_user.agg(
        F.sum("seen").alias("seen"),
        F.sum("rows").alias("rows"),
        F.count(rows).alias("users"),
        F.percentile(rows, BUSY_PERCENTILE).alias("busy"),
        F.median(rows).alias("median"),
        F.min("first").alias("first"),
        F.max("last").alias("last"),
    ).collect()[0]
    totals = {name: float(value or 0.0) for name, value in spread.asDict().items()}
    cap = float(np.floor(max(MIN_CAP, min(totals["busy"], TIMES_MEDIAN * totals["median"]))))
    capped = per_user.agg(
        F.sum(F.least(F.col("rows"), F.lit(cap))).alias("under_cap"), F.count_if(F.col("rows") > cap).alias("capped")
    ).collect()[0]
    return {**totals, "cap": cap, "under_cap": float(capped["under_cap"] or 0.0), "capped": float(capped["capped"])}


def _under_cap(scorable: DataFrame, per_user: DataFrame, cap: float, seed: int, names: Sequence[str]) -> DataFrame:
    """Rows of busy users only as many as the cap lets through; ``draw`` is the session's hash, ``weight`` the inverse
    of the row's chance."""
    busy = per_user.where(F.col("rows") > cap).select("user_id", (cap / F.col("rows")).alias("of_user"))
    return (
        scorable.join(busy, "user_id", how="left")
        .withColumn("of_user", F.coalesce("of_user", F.lit(1.0)))
        .where(_uniform(seed, "window_start") < F.col("of_user"))
        .select(
            F.xxhash64("user_id").alias("user_id"),
            F.unix_micros("session_start").alias("session_start"),
            F.unix_micros("window_start").alias("window_start"),
            (1.0 / F.col("of_user")).alias("weight"),
            _uniform(seed + 1, "session_start").alias("draw"),
            *names,
        )
    )


def _share_of_sessions(under_cap: DataFrame, most: int) -> float:
    """The least bound on ``draw``, in steps of a bucket, that lets at least ``most`` rows through."""
    bucket = F.floor(F.col("draw") * BUCKETS).cast("int").alias("bucket")
    counted = under_cap.groupBy(bucket).agg(F.count("*").alias("rows")).toPandas().sort_values("bucket")
    reached = counted["rows"].cumsum().searchsorted(most)
    return 1.0 if reached >= len(counted) else float(counted["bucket"].iloc[reached] + 1) / BUCKETS


def _uniform(seed: int, *further: str) -> Column:
    """A number from 0 up to 1 that depends on the user, these columns and the seed only."""
    mixed = F.xxhash64("user_id", *further, F.lit(seed))
    return F.shiftrightunsigned(mixed, 11) / F.lit(2.0**53)


def _bounded(rows: pd.DataFrame, most: int, totals: dict[str, float], share: float) -> tuple[pd.DataFrame, str]:
    """At most ``most`` rows, the sessions of the lowest draws (the last one may lose minutes), and how that was done.

    They come in the order of their keys, so that a fit repeats. Weights then add up to the rows that can be scored.
    """
    if share >= 1.0 and len(rows) <= most:
        how = "all user sessions"
        rows["session_weight"] = 1.0
    else:
        given = len(rows)
        rows = rows.sort_values(["draw", "user_id", "window_start"], kind="stable").head(most).copy()
        share *= len(rows) / max(given, 1)
        how = f"{share:.1%} of user sessions, whole, drawn in Spark by a hash of user and session start"
        rows["session_weight"] = 1.0 / share
        rows["weight"] *= totals["rows"] / rows["weight"].sum()
    return rows.sort_values(["user_id", "window_start"], ignore_index=True).drop(columns=["draw", "window_start"]), how
