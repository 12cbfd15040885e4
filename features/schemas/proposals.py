"""A mapping for records of a schema that has no name: guessed from the names of their fields and what is in them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from features.schemas.mapping import EventMapping, mapping_of
from features.validation import micros

MAX_DEPTH = 4
NAMES: dict[str, str] = {
    "user_id": r"user_?id|uid|distinct_?id|customer_?id|account_?id|member_?id|visitor_?id|anonymous_?id|client_?id"
    r"|user|username|login|email|customer|account|visitor",
    "action": r"action|event_?name|event_?type|event|activity|verb|operation|type|name|kind",
    "page": r"page_?path|path|page|page_?url|url|uri|screen_?name|screen|route|location|href|view",
    "timestamp": r"timestamp|event_?time|time|ts|@timestamp|created_?at|occurred_?at|sent_?at|date",
    "event_id": r"event_?id|message_?id|insert_?id|uuid|guid|id",
    "session_id": r"session_?id|session|visit_?id|sid",
    "ip": r"ip|ip_?address|client_?ip|remote_?addr|address",
    "user_agent": r"user_?agent|ua|agent",
    "device_id": r"device_?id|device",
}
"""How senders call a field of the contract, the likeliest first."""
DEFAULTS = {"action": ("=view",), "page": ("=/",)}
MAX_SOURCES = 5
_NUMBER = re.compile(r"\d{10}(?:\.\d+)?|\d{13}|\d{16}|\d{19}")
_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_ANONYMOUS = re.compile(r"(?:visitor|anonymous|client)_?id")


def proposed(records: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """A mapping, as the settings have it, for records of one schema; None where no user or no time is found in them."""
    values: dict[str, list[Any]] = {}
    for record in records:
        for path, value in _leaves(record):
            values.setdefault(path, []).append(value)
    found: dict[str, Any] = {}
    taken: set[str] = set()
    for target in ("timestamp", "user_id", "action", "page", "event_id", "session_id", "ip", "user_agent", "device_id"):
        paths = [path for path in _ranked(target, values) if path not in taken and _fits(target, values[path])]
        taken.update(paths[:MAX_SOURCES])
        sources = [*paths[:MAX_SOURCES], *DEFAULTS.get(target, ())]
        if sources:
            found[target] = sources if len(sources) > 1 else sources[0]
        # In place of a user there was somebody not known yet: beside a user it is whom a login made known.
        if target == "user_id" and (anonymous := [path for path in paths[1:MAX_SOURCES] if _is_anonymous(path)]):
            found["anonymous_id"] = anonymous if len(anonymous) > 1 else anonymous[0]
    return found if "timestamp" in found and "user_id" in found else None


def mapping_for(name: str, records: Sequence[Mapping[str, Any]]) -> EventMapping | None:
    """:func:`proposed` as a mapping."""
    spec = proposed(records)
    return None if spec is None else mapping_of(name, spec)


def _leaves(record: Mapping[str, Any], before: str = "", depth: int = 0) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in record.items():
        path = before + (name if re.fullmatch(r'[^."\[\]]+', name) else f'"{name}"')
        if isinstance(value, Mapping) and depth < MAX_DEPTH:
            found += _leaves(value, f"{path}.", depth + 1)
        elif not isinstance(value, Mapping | list) and '"' not in name:
            found.append((path, value))
    return found


def _ranked(target: str, values: Mapping[str, Sequence[Any]]) -> list[str]:
    """Paths whose last name is one that the field has elsewhere: likelier names first, then those that are often there.

    Of two equal ones the shorter path goes first.
    """
    names = NAMES[target].split("|")
    ranks: list[tuple[int, int, int, str]] = []
    for path, seen in values.items():
        last = _last_name(path)
        rank = next((number for number, name in enumerate(names) if re.fullmatch(name, last)), None)
        if rank is not None:
            ranks.append((rank, -len(seen), path.count("."), path))
    return [path for *_, path in sorted(ranks)]


def _last_name(path: str) -> str:
    return _WORDS.sub("_", path.rpartition(".")[2].strip('"$')).lower()


def _is_anonymous(path: str) -> bool:
    return _ANONYMOUS.fullmatch(_last_name(path)) is not None


def _fits(target: str, seen: Sequence[Any]) -> bool:
    texts = [str(value) for value in seen if value not in (None, "") and not isinstance(value, bool)]
    test: Callable[[str], bool] = _is_time if target == "timestamp" else lambda text: len(text) < 1024
    return bool(texts) and all(map(test, texts))


def _is_time(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None or micros(text) is not None or micros(f"{text}Z") is not None
