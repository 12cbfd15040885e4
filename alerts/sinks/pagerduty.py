"""Alerts to PagerDuty, by its Events API v2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from alerts.sinks.base import Row, needed_secret
from alerts.sinks.http import HttpSink
from alerts.sinks.wording import Severity, details, headline, link, reasons, severity
from settings import Settings

MAX_SUMMARY = 1_024
SEVERITIES = {Severity.LOW: "info", Severity.MEDIUM: "warning", Severity.HIGH: "error", Severity.CRITICAL: "critical"}
SOURCE = "user behaviour"


class PagerdutySink(HttpSink):
    """Triggers an incident for each alert of ``sinks.pagerduty_from`` on or graver, and resolves it when it is over.

    ``alert_id`` is the key: whatever comes twice is one incident.
    """

    max_rows = 20
    receiver = "PagerDuty"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._key = needed_secret("pagerduty", "pagerduty_key", settings.sinks.pagerduty_key)
        self._least = Severity[settings.sinks.pagerduty_from.upper()]

    def send(self, rows: Sequence[Row]) -> int:
        chosen = [row for row in rows if severity(row) >= self._least]
        took = [self._sent(row) for row in chosen]
        return len(took) - sum(took)

    def _sent(self, row: Row) -> bool:
        event = pagerduty_event(row, self._key, self.settings.sinks.page_url)
        return self.post(
            f"alert {row['alert_id']} revision {row['revision']}", self.settings.sinks.pagerduty_url, event
        )


def pagerduty_event(row: Row, key: str, page: str | None) -> dict[str, Any]:
    """What the Events API v2 takes: a trigger while the alert is open, else what resolves it."""
    event: dict[str, Any] = {"routing_key": key, "dedup_key": row["alert_id"], "event_action": "resolve"}
    if row["state"] != "open":
        return event
    address = link(row, page)
    return event | {
        "event_action": "trigger",
        "client": "user behaviour analysis",
        "links": [] if address is None else [{"href": address, "text": "Time line"}],
        "payload": {
            "summary": headline(row)[:MAX_SUMMARY],
            "source": SOURCE,
            "severity": SEVERITIES[severity(row)],
            "timestamp": row["window_start"].isoformat(),
            "class": "unusual behaviour",
            "custom_details": {
                "user_id": row["user_id"],
                "reasons": reasons(row),
                "when": details(row),
                "anomaly_score": row["anomaly_score"],
                "model_version": row["model_version"],
            },
        },
    }
