"""What to say where a run was sent records, and nearly none of them is an event."""

from __future__ import annotations

from collections import Counter

from features.events import REASONS
from features.tables import REJECTED_EVENTS
from lake import arrow_tables

SHOWN = 160
"""Characters of a record of which one is shown."""
ADVICE = {
    "not_json": "If that is a server's log or another file, FORMAT=, LOG_FORMAT= or --client-field say how to read it.",
    "no_request": "If these are requests, LOG_FORMAT= takes the log's own format string, as nginx and Apache have it.",
    "missing_field": "Events have user_id, action, page and timestamp; for records of another schema "
    "python -m jobs.try_mapping --input FILE finds a mapping, or proposes one.",
    "undecodable": "ingest.unpack and ingest.schema_registry_url say what is undone before a value is read.",
    "wrong_type": "docs/reference/events.md has the type of each field.",
    "not_an_object": "Send one JSON object for each event.",
    "bad_timestamp": "Times are ISO 8601 with an offset, such as 2025-10-15T12:00:00Z.",
    "naive_timestamp": "Times need an offset, such as Z or +02:00: without one nobody knows when it was.",
    "timestamp_out_of_range": "--shift-to-now moves the times of a recording up to now; ingest.oldest is the earliest.",
    "arrived_too_late": "--shift-to-now moves a recording's times up to now; ingest.max_late_seconds is the limit.",
    "duplicate_event_id": "These events were sent before: what they tell is in the tables already.",
}
"""What helps, by reason."""


def why_nothing(root: str) -> str | None:
    """Why the records under ``root`` are no events: the commonest reason, one of them, and what to do.

    None where nothing was rejected. Reads table rejected_events.
    """
    rows = arrow_tables.read(root, REJECTED_EVENTS, ["reason", "detail", "raw"])
    if not rows.num_rows:
        return None
    reason, count = Counter(rows["reason"].to_pylist()).most_common(1)[0]
    at = rows["reason"].to_pylist().index(reason)
    detail, raw = rows["detail"][at].as_py(), rows["raw"][at].as_py() or b""
    found = f" ({detail})" if detail else ""
    return (
        f"{rows.num_rows:,} records were rejected, most of them ({count:,}) as {reason}{found}: {REASONS[reason]} "
        f"One of them: {raw[:SHOWN].decode('utf-8', 'replace')!r}. {ADVICE.get(reason, '')}".rstrip()
    )
