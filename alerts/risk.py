"""How much a person's alerts of the last days weigh together: 0 to 100.

An alert gives points: how rare its strangest minute is, in orders of magnitude (one in a hundred: 2, one in a thousand:
3, at most 4), times one plus the binary logarithm of its flagged minutes, so that twice as long counts one more, not
twice. What an analyst called a false alarm gives none, what was confirmed gives double. Points fade by half in some
days, and ``risk = 100 (1 - 2^(-points / half_points))``: no points no risk, ``half_points`` of them 50.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from alerts.book import STANDING, Alert

RAREST = 4.0


@dataclass(frozen=True)
class RiskRules:
    """Days in which points fade by half, the points that make a risk of 50, and how many days back count."""

    half_life_days: float = 3.0
    half_points: float = 10.0
    days: int = 30


@dataclass(frozen=True)
class DayOfUser:
    """A row of table ``risk`` without user, risk and the batch's columns."""

    day: datetime
    alerts: int
    flagged_minutes: int
    highest_score: float | None
    highest_percentile: float | None
    points: float


def day_of(time: datetime) -> datetime:
    """Start of the UTC day."""
    return time.replace(hour=0, minute=0, second=0, microsecond=0)


def points_of(alert: Alert, verdict: str | None = None) -> float:
    """What one alert adds; ``verdict`` is the newest feedback: 'true', 'false' or None."""
    if alert.state not in STANDING or alert.flagged_minutes < 1 or verdict == "false":
        return 0.0
    share_above = max(1.0 - alert.anomaly_percentile / 100.0, 10.0**-RAREST)
    points = -math.log10(share_above) * (1.0 + math.log2(alert.flagged_minutes))
    return 2.0 * points if verdict == "true" else points


def days_of(alerts: Iterable[Alert], verdicts: Mapping[str, str]) -> dict[datetime, DayOfUser]:
    """A user's alerts by the day their session started in; ``verdicts`` is feedback by ``alert_id``.

    Days whose alerts were all withdrawn or are false alarms have a row too, with nothing in it.
    """
    by_day: dict[datetime, list[Alert]] = {}
    for alert in alerts:
        by_day.setdefault(day_of(alert.session_start), []).append(alert)
    return {day: _day(day, of_day, verdicts) for day, of_day in sorted(by_day.items())}


def risk_at(day: datetime, days: Iterable[DayOfUser], rules: RiskRules) -> float:
    """The risk at the end of ``day`` (0 to 100), from this and earlier days."""
    total = 0.0
    for one in days:
        age = (day - one.day) / timedelta(days=1)
        if 0 <= age < rules.days:
            total += one.points * math.exp2(-age / rules.half_life_days)
    return 100.0 * (1.0 - math.exp2(-total / rules.half_points))


def _day(day: datetime, alerts: list[Alert], verdicts: Mapping[str, str]) -> DayOfUser:
    standing = [a for a in alerts if a.state in STANDING and verdicts.get(a.alert_id) != "false"]
    return DayOfUser(
        day=day,
        alerts=len(standing),
        flagged_minutes=sum(alert.flagged_minutes for alert in standing),
        highest_score=max((alert.anomaly_score for alert in standing), default=None),
        highest_percentile=max((alert.anomaly_percentile for alert in standing), default=None),
        points=sum(points_of(alert, verdicts.get(alert.alert_id)) for alert in alerts),
    )
