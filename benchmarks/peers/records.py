"""Kafka records to events, for every peer: what is no event of ours is passed over."""

from __future__ import annotations

from datetime import datetime

import orjson

from benchmarks.peers.person import Event


def read(value: bytes | None) -> tuple[str, Event] | None:
    """The user and the event of a record; None where it is none."""
    try:
        record = orjson.loads(value or b"")
        second = int(datetime.fromisoformat(record["timestamp"]).timestamp())
        return record["user_id"], (second, record["action"], record["page"])
    except (ValueError, KeyError, TypeError):
        return None
