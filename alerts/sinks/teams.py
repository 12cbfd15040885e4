"""Alerts to a channel of Microsoft Teams, by the webhook of a workflow that takes adaptive cards."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from alerts.sinks.base import Row, needed_secret
from alerts.sinks.http import ChatSink
from alerts.sinks.wording import Severity, details, headline, link, reasons, severity
from settings import Settings

MOST_SHOWN = 10
MAX_BYTES = 28_000
"""Of a message: Teams takes no longer one."""
COLOURS = {Severity.LOW: "default", Severity.MEDIUM: "accent", Severity.HIGH: "warning", Severity.CRITICAL: "attention"}


class TeamsSink(ChatSink):
    receiver = "Teams"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, needed_secret("teams", "teams_url", settings.sinks.teams_url))

    def message(self, rows: Sequence[Row], page: str | None) -> dict[str, Any]:
        return teams_message(rows, page)


def teams_message(rows: Sequence[Row], page: str | None) -> dict[str, Any]:
    """An adaptive card with as many alerts as fit, up to :data:`MOST_SHOWN`."""
    for count in range(min(MOST_SHOWN, len(rows)), 0, -1):
        message = _message(rows, count, page)
        if len(json.dumps(message).encode()) <= MAX_BYTES:
            return message
    return _message(rows, 0, page)


def _message(rows: Sequence[Row], count: int, page: str | None) -> dict[str, Any]:
    body = [element for row in rows[:count] for element in _alert(row, page)]
    if len(rows) > count:
        body.append(_texts([f"and {len(rows) - count} more" if count else f"{len(rows)} alerts"]))
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "msteams": {"width": "Full"},
        "body": body,
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [attachment]}


def _alert(row: Row, page: str | None) -> list[dict[str, Any]]:
    grave = severity(row)
    head = {"type": "TextRun", "text": f"[{grave.name}] {headline(row)}", "weight": "bolder", "color": COLOURS[grave]}
    elements: list[dict[str, Any]] = [
        {"type": "RichTextBlock", "separator": True, "inlines": [head]},
        _texts([*reasons(row)[1:3], details(row)]),
    ]
    address = link(row, page)
    if address is not None:
        action = {"type": "Action.OpenUrl", "title": "Time line", "url": address}
        elements.append({"type": "ActionSet", "actions": [action]})
    return elements


def _texts(lines: Sequence[str]) -> dict[str, Any]:
    """Text that is no markup, whatever signs are in it: a TextBlock would read them as Markdown."""
    return {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": "\n".join(lines)}]}
