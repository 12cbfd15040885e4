"""What people and their tools are told of an alert: a headline, how grave it is, and where to look."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import IntEnum
from urllib.parse import quote

from alerts.sinks.base import Row

MAX_NAME = 100
"""Characters of a user's id that are shown."""
MAX_REASON = 300
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")
"""Control characters, and those that turn the direction of what follows them."""
ENDS = {
    "closed": "is over",
    "withdrawn": "was taken back, since late events changed the verdict",
    "merged": "goes on as another alert",
}


class Severity(IntEnum):
    """How grave an alert is, by how rare its strangest minute is among what the model learned."""

    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4


def severity(row: Row) -> Severity:
    """One in a hundred is medium, one in a thousand high, one in ten thousand critical."""
    rest = round(100 - float(row["anomaly_percentile"]), 9)
    return Severity(1 + sum(rest <= limit for limit in (1.0, 0.1, 0.01)))


def shown(text: object, most: int = MAX_REASON) -> str:
    """Text of events as one line without what cannot be seen, cut to so many characters."""
    line = _UNSEEN.sub(" ", str(text)).strip()
    return line if len(line) <= most else f"{line[: most - 1]}…"


def headline(row: Row) -> str:
    """One sentence: who, what is strange, or how it ended."""
    who = shown(row["user_id"], MAX_NAME)
    if row["state"] in ENDS:
        return f"The alert on {who} {ENDS[row['state']]}"
    told = reasons(row)
    return f"{who}: {told[0] if told else 'behaves unlike all others'}"


def reasons(row: Row) -> list[str]:
    """The reasons of the strangest minute, the strongest first."""
    return [shown(one["text"]) for one in row["reasons"] or () if one.get("text")]


def when(row: Row) -> str:
    """The flagged minutes, in UTC."""
    first, last = _utc(row["first_window_start"]), _utc(row["last_window_start"])
    until = (
        "" if first == last else f" to {last:%H:%M}" if first.date() == last.date() else f" to {last:%Y-%m-%d %H:%M}"
    )
    return f"{first:%Y-%m-%d %H:%M}{until} UTC"


def details(row: Row) -> str:
    """When, how long and how rare."""
    minutes = int(row["flagged_minutes"])
    count = f"{minutes} flagged minute{'' if minutes == 1 else 's'}"
    return f"{when(row)}, {count}, stranger than {float(row['anomaly_percentile']):.4g} % of all"


def link(row: Row, page: str | None) -> str | None:
    """The user's time line on the page, where its address is known."""
    return None if page is None else f"{page.rstrip('/')}/timeline?user={quote(str(row['user_id']), safe='')}"


def worth_telling(rows: Sequence[Row]) -> list[Row]:
    """Of revisions those that people want to hear of: the newest of each alert that is new, or over."""
    told: dict[str, Row] = {}
    for row in rows:
        if row["revision"] == 1 or row["state"] != "open" or row["alert_id"] in told:
            told[row["alert_id"]] = row
    return list(told.values())


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)
