"""Alerts to a channel of Slack, by an incoming webhook."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from alerts.sinks.base import Row, needed_secret
from alerts.sinks.http import ChatSink
from alerts.sinks.wording import details, headline, link, reasons, severity
from settings import Settings

MOST_SHOWN = 10
MAX_TEXT = 3_000
"""Characters of one section (Slack's Block Kit); a message may have 50 blocks, and texts of users are never markup."""


class SlackSink(ChatSink):
    receiver = "Slack"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, needed_secret("slack", "slack_url", settings.sinks.slack_url))

    def message(self, rows: Sequence[Row], page: str | None) -> dict[str, Any]:
        return slack_message(rows, page)


def slack_message(rows: Sequence[Row], page: str | None) -> dict[str, Any]:
    """A message of Block Kit: a section for each alert, up to :data:`MOST_SHOWN`."""
    blocks = [_section(row, page) for row in rows[:MOST_SHOWN]]
    if len(rows) > MOST_SHOWN:
        more = {"type": "plain_text", "text": f"and {len(rows) - MOST_SHOWN} more", "emoji": False}
        blocks.append({"type": "context", "elements": [more]})
    return {"text": _fallback(rows), "mrkdwn": False, "blocks": blocks}


def _fallback(rows: Sequence[Row]) -> str:
    """What notifications show; Slack wants these three signs as entities in it."""
    text = headline(rows[0]) if len(rows) == 1 else f"{len(rows)} alerts, the first: {headline(rows[0])}"
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _section(row: Row, page: str | None) -> dict[str, Any]:
    lines = [f"[{severity(row).name}] {headline(row)}", *reasons(row)[1:3], details(row)]
    text = {"type": "plain_text", "text": "\n".join(lines)[:MAX_TEXT], "emoji": False}
    section: dict[str, Any] = {"type": "section", "text": text}
    address = link(row, page)
    if address is not None and len(address) <= MAX_TEXT:
        label = {"type": "plain_text", "text": "Time line", "emoji": False}
        section["accessory"] = {
            "type": "button",
            "text": label,
            "url": address,
            "action_id": str(row["alert_id"])[:255],
        }
    return section
