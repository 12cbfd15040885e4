"""The verdict on a record of any schema: as it is, or by the mapping of where it came from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from features.events import ValidationRules
from features.schemas.batches import events_of
from features.schemas.cloudevents import Headers, structured
from features.schemas.mapping import EventMapping, Path
from features.strict_json import as_written
from features.validation import Event, Rejection, validate_value

MAPPED = frozenset(
    {"not_json", "missing_field", "wrong_type", "empty_user_id", "empty_field", "bad_timestamp", "naive_timestamp"}
)
"""Reasons for which a record may be of another schema."""
WITHIN = Rejection("wrong_type", None, "an event that holds events itself")


@dataclass(frozen=True)
class Source:
    """Where a value came from.

    Attributes:
        name: its topic or what its header says, by which a mapping is found.
        headers: those of its record, as mappings with ``key`` and ``value``.
        beside: bytes of the record beside its value.
    """

    name: str | None = None
    headers: Headers = ()
    beside: int = 0


NOWHERE = Source()


def reading_of(
    value: bytes | None, rules: ValidationRules, now: int, arrived: int | None, source: Source = NOWHERE
) -> Event | Rejection | list[bytes]:
    """:func:`verdict_of`, or, where the value holds several events (:mod:`features.schemas.batches`), their texts."""
    verdict = validate_value(value, rules, now, arrived)
    if value is None or isinstance(verdict, Event):
        return verdict
    events = events_of(value, rules, _mapping_of(source, rules), source.beside)
    return _mapped(verdict, value, rules, now, arrived, source) if events is None else events


def verdict_of(
    value: bytes | None, rules: ValidationRules, now: int, arrived: int | None, source: Source = NOWHERE
) -> Event | Rejection:
    """The event in one record's value, or why there is none; see :func:`features.validation.validate_value`.

    An event of the contract is one, wherever it comes from. Where ``rules`` have a mapping for the ``source``, what is
    none is mapped, and what comes of it is validated in its place; what is none then, either, is looked at together
    with the attributes of a CloudEvent in its headers.
    """
    verdict = validate_value(value, rules, now, arrived)
    return verdict if value is None else _mapped(verdict, value, rules, now, arrived, source)


def verdicts_of(
    value: bytes, rules: ValidationRules, now: int, arrived: int | None, source: Source = NOWHERE
) -> list[tuple[bytes, Event | Rejection]]:
    """The texts of the events that a value holds, or the value, each with its verdict as a record of its own."""
    reading = reading_of(value, rules, now, arrived, source)
    if not isinstance(reading, list):
        return [(value, reading)]
    again = [(event, reading_of(event, rules, now, arrived, source)) for event in reading]
    return [(event, WITHIN if isinstance(one, list) else one) for event, one in again]


def _mapping_of(source: Source, rules: ValidationRules) -> EventMapping | None:
    return None if source.name is None else rules.mappings.get(source.name)


def _mapped(
    verdict: Event | Rejection, value: bytes, rules: ValidationRules, now: int, arrived: int | None, source: Source
) -> Event | Rejection:
    """The ``verdict`` on the value itself or, where that may be of another schema, the one by its mapping."""
    mapping = _mapping_of(source, rules)
    if mapping is None or isinstance(verdict, Event) or verdict.reason not in MAPPED:
        return verdict
    mapped = _by_mapping(value, mapping, rules, now, arrived)
    if isinstance(mapped, Event) or not source.headers:
        return mapped or verdict
    with_headers = structured(value, source.headers)
    found = None if with_headers is None else _by_mapping(with_headers, mapping, rules, now, arrived)
    return found if isinstance(found, Event) else mapped or found or verdict


def _by_mapping(
    value: bytes, mapping: EventMapping, rules: ValidationRules, now: int, arrived: int | None
) -> Event | Rejection | None:
    text = mapped_text(value, mapping)
    if text is None:
        return None
    found = validate_value(text.encode(), rules, now, arrived)
    if isinstance(found, Rejection) and found.reason == "missing_field":
        sources = ", ".join(mapping.fields.get(str(found.field), ()))
        return found._replace(detail=f"mapping {mapping.name} finds none of {sources}")
    return found


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
