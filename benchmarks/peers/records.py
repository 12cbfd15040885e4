"""Kafka records to events, for every peer: what is no event of ours is passed over."""

from __future__ import annotations

from datetime import datetime

import orjson

from benchmarks.peers.person import Event


def read(value: bytes | None) -> tuple[str, Event] | None:
    """The user and the event of a record; None where it is none."""
    found = identified(value)
    return None if found is None else found[:2]


def identified(value: bytes | None) -> tuple[str, Event, str | None] | None:
    """The user, the event and its id, where it has one."""
    try:
        record = orjson.loads(value or b"")
        second = int(datetime.fromisoformat(record["timestamp"]).timestamp())
        return record["user_id"], (second, record["action"], record["page"]), record.get("event_id")
    except (ValueError, KeyError, TypeError):
        return None
