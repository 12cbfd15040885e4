"""The verdict on a record of any schema: as it is, or by the mapping of where it came from."""

from __future__ import annotations

import json
from typing import Any

from features.events import ValidationRules
from features.mapping import EventMapping, Path
from features.validation import Event, Rejection, as_written, validate_value

MAPPED = frozenset(
    {"not_json", "missing_field", "wrong_type", "empty_user_id", "empty_field", "bad_timestamp", "naive_timestamp"}
)
"""Reasons for which a record may be of another schema."""


def verdict_of(
    value: bytes | None, rules: ValidationRules, now: int, arrived: int | None, topic: str | None = None
) -> Event | Rejection:
    """The event in one record's value, or why there is none; see :func:`features.validation.validate_value`.

    An event of the contract is one, wherever it comes from. Where ``rules`` have a mapping for the ``topic``, what is
    none is mapped, and what comes of it is validated in its place.
    """
    verdict = validate_value(value, rules, now, arrived)
    mapping = None if topic is None else rules.mappings.get(topic)
    if mapping is None or value is None or not isinstance(verdict, Rejection) or verdict.reason not in MAPPED:
        return verdict
    text = mapped_text(value, mapping)
    if text is None:
        return verdict
    again = validate_value(text.encode(), rules, now, arrived)
    if isinstance(again, Rejection) and again.reason == "missing_field":
        sources = ", ".join(mapping.fields.get(str(again.field), ()))
        return again._replace(detail=f"mapping {mapping.name} finds none of {sources}")
    return again


def mapped_text(value: bytes, mapping: EventMapping) -> str | None:
    """The event of the contract that a record is mapped to, as JSON; None where it is no record of such a schema.

    Fields of which nothing is taken become properties, with their values as they were written.
    """
    try:
        text = value.decode()
        if mapping.columns:
            columns = mapping.record_in(text)
            if columns is None:
                return None
            written = {name: json.dumps(one) for name, one in columns.items()}
            record: dict[str, Any] = columns
        else:
            loaded = json.loads(text)
            if not isinstance(loaded, dict):
                return None
            record, written = loaded, as_written(text)
    except (ValueError, RecursionError):
        return None
    members = [f"{json.dumps(name)}:{json.dumps(found)}" for name, found in mapping.apply(record).items()]
    return f"{{{','.join([*members, _properties(written, mapping)])}}}"


def _properties(written: dict[str, str], mapping: EventMapping) -> str:
    """Member ``properties`` of the event, of values as they were written."""
    kept = {name: text for name, text in written.items() if name not in mapping.used}
    for path in mapping.property_paths:
        inside = _inside(written, path)
        kept.pop(str(path[0]), None)
        kept |= {name: text for name, text in inside.items() if name not in kept}
    return '"properties":{' + ",".join(f"{json.dumps(name)}:{text}" for name, text in kept.items()) + "}"


def _inside(written: dict[str, str], path: Path) -> dict[str, str]:
    """The members of the object at a path; none where there is no object."""
    for step in path:
        text = written.get(str(step), "")
        if not text.startswith("{"):
            return {}
        written = as_written(text)
    return written
