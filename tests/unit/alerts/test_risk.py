"""Risk: what raises it, what lowers it, and that it fades."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from alerts.book import Alert
from alerts.risk import RiskRules, days_of, points_of, risk_at

DAY = datetime(2026, 3, 1, tzinfo=UTC)
RULES = RiskRules(half_life_days=3.0, half_points=10.0, days=30)
ALERT = Alert("a", 1, "ada", DAY + timedelta(hours=5), DAY, DAY, DAY, DAY, 4, 0.7, 99.9, None, "1", "closed", None, DAY)


@pytest.mark.parametrize(
    ("alert", "verdict", "points"),
    [
        (ALERT, None, 9.0),
        (replace(ALERT, flagged_minutes=1), None, 3.0),
        (replace(ALERT, flagged_minutes=1, anomaly_percentile=99.0), None, 2.0),
        (replace(ALERT, flagged_minutes=1, anomaly_percentile=100.0), None, 4.0),
        (ALERT, "true", 18.0),
        (ALERT, "false", 0.0),
        (replace(ALERT, state="withdrawn", flagged_minutes=0), None, 0.0),
        (replace(ALERT, state="merged"), None, 0.0),
    ],
)
def test_points_of_an_alert(alert: Alert, verdict: str | None, points: float) -> None:
    assert points_of(alert, verdict) == pytest.approx(points)


def test_ten_points_are_a_risk_of_fifty_and_half_of_them_are_left_after_the_half_life() -> None:
    days = [replace(days_of([ALERT], {})[DAY], points=10.0)]
    assert risk_at(DAY, days, RULES) == pytest.approx(50.0)
    assert risk_at(DAY + timedelta(days=3), days, RULES) == pytest.approx(100 * (1 - 2**-0.5))
    assert risk_at(DAY + timedelta(days=30), days, RULES) == 0.0
    assert risk_at(DAY - timedelta(days=1), days, RULES) == 0.0


def test_days_count_what_stands_and_keep_a_row_for_what_was_taken_back() -> None:
    other = replace(ALERT, alert_id="b", session_start=DAY + timedelta(days=1), anomaly_score=0.9)
    days = days_of([ALERT, other, replace(other, alert_id="c", anomaly_score=0.8)], {"b": "false"})
    assert [(d.alerts, d.flagged_minutes, d.highest_score) for d in days.values()] == [(1, 4, 0.7), (1, 4, 0.8)]
    empty = days_of([ALERT], {"a": "false"})[DAY]
    assert (empty.alerts, empty.highest_score, empty.points) == (0, None, 0.0)


def test_risk_never_leaves_0_to_100_and_grows_with_every_alert() -> None:
    alerts = [replace(ALERT, alert_id=str(n)) for n in range(40)]
    risks = [risk_at(DAY, days_of(alerts[:n], {}).values(), RULES) for n in range(41)]
    assert risks == sorted(risks)
    assert risks[0] == 0.0
    assert risks[-1] <= 100.0
