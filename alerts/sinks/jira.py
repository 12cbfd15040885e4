"""Alerts as issues of Jira, by version 3 of its REST API."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from alerts.sinks.base import Row, needed, needed_secret
from alerts.sinks.http import HttpSink
from alerts.sinks.wording import Severity, details, headline, link, reasons, severity
from settings import Settings

MAX_SUMMARY = 255
LABEL = "behavior-alert"


class JiraSink(HttpSink):
    """An issue for each alert of ``sinks.jira_from`` on or graver, and a comment when it is over.

    Jira knows no key: an issue of the alert is looked for by its label before one is made. Jira's search may be some
    seconds behind, so a crash right after the making can still make a second one.
    """

    max_rows = 20
    receiver = "Jira"

    def __init__(self, settings: Settings) -> None:
        chosen = settings.sinks
        user = needed("jira", "jira_user", chosen.jira_user)
        token = needed_secret("jira", "jira_token", chosen.jira_token)
        login = base64.b64encode(f"{user}:{token}".encode()).decode()
        super().__init__(settings, {"Authorization": f"Basic {login}"})
        self._address = needed("jira", "jira_url", chosen.jira_url).rstrip("/")
        self._project = needed("jira", "jira_project", chosen.jira_project)
        self._least = Severity[chosen.jira_from.upper()]

    def send(self, rows: Sequence[Row]) -> int:
        chosen = [
            row for row in rows if severity(row) >= self._least and (row["revision"] == 1 or row["state"] != "open")
        ]
        took = [self._sent(row) for row in chosen]
        return len(took) - sum(took)

    def _sent(self, row: Row) -> bool:
        what = f"alert {row['alert_id']} revision {row['revision']}"
        known, answered = self._issue(row, what)
        if not answered:
            return False
        if row["state"] == "open":
            fields = self._fields(row)
            return known is not None or self.post(what, f"{self._address}/rest/api/3/issue", {"fields": fields})
        if known is None:  # it was over before it was told
            return True
        return self.post(
            what, f"{self._address}/rest/api/3/issue/{known}/comment", {"body": _document([headline(row)])}
        )

    def _issue(self, row: Row, what: str) -> tuple[str | None, bool]:
        """The key of the alert's issue, and whether Jira answered."""
        query = {"jql": f'project = "{self._project}" AND labels = "{_label(row)}"', "fields": "key", "maxResults": "1"}
        answer = self.ask(what, lambda: self.client.get(f"{self._address}/rest/api/3/search/jql", params=query))
        if answer is None:
            return None, False
        found = answer.json().get("issues") or ()
        return (str(found[0]["key"]) if found else None), True

    def _fields(self, row: Row) -> dict[str, Any]:
        address = link(row, self.settings.sinks.page_url)
        lines = [*reasons(row), details(row), *([] if address is None else [address])]
        return {
            "project": {"key": self._project},
            "issuetype": {"name": self.settings.sinks.jira_issue_type},
            "summary": headline(row)[:MAX_SUMMARY],
            "labels": [LABEL, _label(row)],
            "description": _document(lines),
        }


def _label(row: Row) -> str:
    return f"{LABEL}-{row['alert_id']}"


def _document(lines: Sequence[str]) -> dict[str, Any]:
    """Paragraphs of Atlassian's document format: text that is no markup, whatever signs are in it."""
    paragraphs = [{"type": "paragraph", "content": [{"type": "text", "text": line}]} for line in lines if line]
    return {"type": "doc", "version": 1, "content": paragraphs}
