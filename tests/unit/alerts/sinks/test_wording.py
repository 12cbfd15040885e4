"""What people are told of an alert."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from alerts.sinks.wording import Severity, details, headline, link, reasons, severity, shown, worth_telling
from tests.unit.alerts.sinks.receivers import NOON, REASONS, alert


@pytest.mark.parametrize(
    ("percentile", "expected"),
    [
        (0.0, Severity.LOW), (98.9, Severity.LOW), (99.0, Severity.MEDIUM), (99.89, Severity.MEDIUM),
        (99.9, Severity.HIGH), (99.98, Severity.HIGH), (99.99, Severity.CRITICAL), (100.0, Severity.CRITICAL),
    ],
)  # fmt: skip
def test_how_rare_it_is_says_how_grave(percentile: float, expected: Severity) -> None:
    assert severity(alert(anomaly_percentile=percentile)) is expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, f"ada: {REASONS[0]}"),
        ({"reasons": None}, "ada: behaves unlike all others"),
        ({"reasons": []}, "ada: behaves unlike all others"),
        ({"state": "closed"}, "The alert on ada is over"),
        ({"state": "withdrawn"}, "The alert on ada was taken back, since late events changed the verdict"),
        ({"state": "merged"}, "The alert on ada goes on as another alert"),
        ({"user_id": "a\nBcc: x\u202e" + "z" * 200}, "a Bcc: x " + "z" * 90 + f"…: {REASONS[0]}"),
    ],
)
def test_the_headline_is_one_line_that_says_who_and_what(changes: dict[str, Any], expected: str) -> None:
    assert headline(alert(**changes)) == expected


def test_the_rest_says_when_how_long_and_where_to_look() -> None:
    row = alert(user_id="a/b?c=d e")
    assert details(row) == "2026-03-01 12:00 to 12:07 UTC, 5 flagged minutes, stranger than 99.97 % of all"
    one = alert(last_window_start=NOON, flagged_minutes=1)
    assert details(one).startswith("2026-03-01 12:00 UTC, 1 flagged minute, ")
    assert "to 2026-03-02 01:00 UTC" in details(alert(last_window_start=NOON + timedelta(hours=13)))
    assert link(row, "https://page/") == "https://page/timeline?user=a%2Fb%3Fc%3Dd%20e"
    assert link(row, None) is None
    assert reasons(row) == list(REASONS)
    assert shown("x" * 500, 10) == "x" * 9 + "…"


def test_people_hear_of_what_is_new_and_what_is_over() -> None:
    rows = [
        alert("a", 1), alert("a", 2), alert("b", 7), alert("b", 8, state="closed"), alert("c", 1),
        alert("c", 2, state="withdrawn"), alert("d", 4),
    ]  # fmt: skip
    told = worth_telling(rows)
    assert [(row["alert_id"], row["revision"]) for row in told] == [("a", 2), ("b", 8), ("c", 2)]
