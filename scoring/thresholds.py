"""From "how many alerts can you look at in a day" to a score, and back.

A score's distribution is kept as quantiles at :data:`LEVELS`: every tenth of a percent, and finer in the last
one, because alerts live in the tail. A row is flagged when its score is at or above the threshold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.errors import ConfigurationError

Floats = NDArray[np.float64]

LEVELS: Floats = np.unique(
    np.round(np.concatenate([np.linspace(0, 100, 1001), np.linspace(99.9, 99.99, 10), np.linspace(99.99, 100, 11)]), 3)
)
"""Percent, ascending from 0 to 100."""

MAX_EXCESS = 2.0
"""A threshold that this many times the wanted share reaches has a crowd of equal scores at it."""
JUST_ABOVE = 1e-9
ALERT_TABLE = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
"""Alerts per day that a preview shows."""


@dataclass(frozen=True)
class Distribution:
    """Scores at :data:`LEVELS` and how many of what was scored come in a day (user sessions where known, else rows)."""

    quantiles: tuple[float, ...]
    per_day: float
    unit: str = "rows"

    def above(self, threshold: float) -> float:
        """The share (0 to 1) with a score at or above the threshold."""
        return float(1.0 - percentile(np.array([threshold]), np.array(self.quantiles))[0] / 100.0)


def quantiles(scores: Floats, weights: Floats | None = None) -> Floats:
    """Scores at :data:`LEVELS`, shape (levels,); weights, shape (rows,), say how many rows each one stands for.

    Linear interpolation between order statistics (Hyndman and Fan 1996, type 7; with weights, its extension by
    the middle of each row's share). Raises ValueError when there is no score.
    """
    if not len(scores):
        raise ValueError("no scores: quantiles need at least one scored row")
    if weights is None:
        return np.asarray(np.quantile(scores, LEVELS / 100.0), np.float64)
    order = np.argsort(scores, kind="stable")
    middle = np.cumsum(weights[order]) - weights[order] / 2
    span = middle[-1] - middle[0]
    place = (middle - middle[0]) / span if span > 0 else np.zeros(len(scores))
    return np.asarray(np.interp(LEVELS / 100.0, place, scores[order]), np.float64)


def percentile(scores: Floats, at_levels: Floats) -> Floats:
    """Share of the reference with a lower score, 0 to 100, shape (rows,); NaN stays NaN.

    Interpolated between the stored quantiles; below the lowest it is 0, above the highest 100.
    """
    right = np.clip(np.searchsorted(at_levels, scores, side="left"), 1, len(at_levels) - 1)
    low, high = at_levels[right - 1], at_levels[right]
    width = np.where(high > low, high - low, 1.0)
    part = np.clip((scores - low) / width, 0.0, 1.0)
    return np.asarray(LEVELS[right - 1] + part * (LEVELS[right] - LEVELS[right - 1]), np.float64)


def from_share(share: float, distribution: Distribution) -> float:
    """The score that a share (0 to 1) of the reference reaches. Raises ConfigurationError outside of 0 to 1.

    Where far more of the reference have that very score, as all rows of constant behaviour have, it is one just above:
    what is common is not flagged.
    """
    if not 0.0 < share < 1.0:
        raise ConfigurationError(
            f"The share of flagged rows is {share}, it must lie between 0 and 1, for instance 0.01."
        )
    found = float(np.interp(100.0 * (1.0 - share), LEVELS, distribution.quantiles))
    reached = 1.0 - LEVELS[np.searchsorted(distribution.quantiles, found, side="left")] / 100.0
    return found + JUST_ABOVE if reached > MAX_EXCESS * share else found


def from_percentile(percent: float, distribution: Distribution) -> float:
    """The score below which that percentage (0 to 100) of the reference lies."""
    if not 0.0 < percent < 100.0:
        raise ConfigurationError(f"The percentile is {percent}, it must lie between 0 and 100, for instance 99.5.")
    return from_share(1.0 - percent / 100.0, distribution)


def from_alerts_per_day(alerts: float, distribution: Distribution) -> float:
    """The score that so many units a day reach; the lowest score of all when there are never so many.

    Raises ConfigurationError unless the number is positive.
    """
    if not alerts > 0.0:
        raise ConfigurationError(f"{alerts} alerts per day were asked for, it must be more than 0.")
    share = alerts / distribution.per_day
    if share >= 1.0:
        return float(distribution.quantiles[0])
    return from_share(share, distribution)


def preview(distribution: Distribution, current: float | None = None) -> pd.DataFrame:
    """Alerts per day by threshold: columns alerts_per_day, threshold, share and current (the row of today's threshold).

    Sorted from few alerts to many; counts beyond what comes in a day are left out.
    """
    alert_counts = [alerts for alerts in ALERT_TABLE if alerts < distribution.per_day]
    rows = [(float(alerts), from_alerts_per_day(alerts, distribution), False) for alerts in alert_counts]
    if current is not None:
        rows.append((distribution.above(current) * distribution.per_day, current, True))
    table = pd.DataFrame(rows, columns=["alerts_per_day", "threshold", "current"])
    table.insert(2, "share", table["alerts_per_day"] / distribution.per_day)
    return table.sort_values(["alerts_per_day", "current"], ignore_index=True)


def preview_of_history(
    sessions: pd.DataFrame, days: float, current: float, proposed: float | None = None
) -> pd.DataFrame:
    """Alerts per day by threshold, as history would have had them.

    Args:
        sessions: a row per user session: ``day`` (any value that tells days apart), ``score`` (of its strangest minute)
            and, where an analyst has reviewed it, ``verdict`` "true" or "false".
        days: length of the history.
        current, proposed: thresholds that get a row of their own.

    Returns:
        threshold, alerts_per_day (mean), busiest_day (most alerts of one day), share of sessions, true_kept and
        false_kept (alerts with that verdict that would still be raised), note; from few alerts to many.
    """
    scores = np.sort(sessions["score"].to_numpy(np.float64))[::-1]
    places = {alerts: round(alerts * days) for alerts in ALERT_TABLE}
    rows = [(float(scores[place - 1]), "") for place in places.values() if 0 < place <= len(scores)]
    rows.append((current, "now"))
    if proposed is not None:
        rows.append((proposed, "asked for"))
    table = [_at(sessions, days, threshold, note) for threshold, note in rows]
    return pd.DataFrame(table, columns=PREVIEW).sort_values(["alerts_per_day", "note"], ignore_index=True)


PREVIEW = ["threshold", "alerts_per_day", "busiest_day", "share", "true_kept", "false_kept", "note"]


def _at(
    sessions: pd.DataFrame, days: float, threshold: float, note: str
) -> tuple[float, float, int, float, int, int, str]:
    raised = sessions[sessions["score"] >= threshold]
    busiest = int(raised["day"].value_counts().max()) if len(raised) else 0
    verdicts = raised["verdict"] if "verdict" in raised else pd.Series(dtype=object)
    kept = [int((verdicts == verdict).sum()) for verdict in ("true", "false")]
    return threshold, len(raised) / days, busiest, len(raised) / max(len(sessions), 1), kept[0], kept[1], note
