"""Events of other schemas -> events of the contract: which of their fields is the user, the action, the page, the time.

A mapping is data: where each field of the contract is found, in order of preference, and what actions are called. It
is applied to a record that is no event of the contract, by the same validation, so that the record's bytes stay as they
came and can be validated again by another mapping.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping as Names
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import chain
from typing import Any, Literal

from features.errors import ConfigurationError

Unit = Literal["auto", "seconds", "milliseconds", "microseconds", "nanoseconds"]
UNITS: dict[str, int] = {"seconds": 1, "milliseconds": 1_000, "microseconds": 1_000_000, "nanoseconds": 1_000_000_000}
TARGETS = ("user_id", "action", "page", "timestamp", "event_id", "session_id", "sent_at")
CONTEXT = ("ip", "user_agent", "device_id", "country", "outcome", "anonymous_id")
CONSTANT = "="
"""Before a text that is meant as it stands and not as a path: ``=view``."""
_STEP = re.compile(r'"([^"]+)"|([^."\[\]]+)|\[(?:(\d+)|([^\]=]+)=([^\]]*))\]')
_NAIVE = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#]*", re.IGNORECASE)
OPTIONS = ("actions", "unit", "zone_is_utc", "columns", "width", "properties", "batch")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
OUTCOMES = {"success": "ok", "failure": "failed", "true": "ok", "false": "failed", "1": "ok", "2": "failed"}
"""What others call how something ended; 1 and 2 are those of OCSF."""

NO_SESSION = "-1"
"""Amplitude's session id of events that belong to none."""

Path = tuple[tuple[str, str] | str | int, ...]


@dataclass(frozen=True)
class EventMapping:
    """Where the fields of the contract are found.

    Attributes:
        fields: for each field its sources in order: paths (``context.page.path``, ``items[0].id``,
            ``params[key=page].value``), or constants (``=view``). A source of the page that is a URL gives its path.
        actions: names of actions, and what they are called here.
        unit: of times that are numbers; ``auto``: told by their size.
        zone_is_utc: times without an offset are UTC.
        columns: names by number, from 0, of the columns of records that are ``width`` tab-separated texts and no JSON.
        properties: paths of objects whose members become properties, beside the record's own other fields.
        batch: names (``a.b``) that lead to the array of events in a record that holds several, see
            :mod:`features.schemas.batches`; each array on the way is gone through. Of several the first that is there.
    """

    name: str
    fields: Names[str, tuple[str, ...]]
    actions: Names[str, str] = field(default_factory=dict)
    unit: Unit = "auto"
    zone_is_utc: bool = False
    columns: Names[int, str] = field(default_factory=dict)
    width: int = 0
    properties: tuple[str, ...] = ()
    batch: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        unknown = sorted(set(self.fields) - {*TARGETS, *CONTEXT})
        if unknown:
            known = ", ".join((*TARGETS, *CONTEXT))
            raise ConfigurationError(f"Mapping {self.name} has fields {', '.join(unknown)}; there are {known}.")
        lacking = [name for name in TARGETS[:4] if not self.fields.get(name)]
        if lacking:
            raise ConfigurationError(f"Mapping {self.name} does not say where {', '.join(lacking)} is found.")
        for source in (*chain.from_iterable(self.fields.values()), *self.properties):
            _path(source)  # what is none is said at the start
        for source in self.batch:
            if source.startswith(CONSTANT) or not all(isinstance(step, str) for step in _path(source)):
                raise ConfigurationError(f"Mapping {self.name} has batch {source!r}; needed names such as a.b.")

    def record_in(self, text: str) -> dict[str, Any] | None:
        """The record of a text with columns; None where it is none."""
        if not self.columns:
            return None
        values = text.rstrip("\r\n").split("\t")
        if len(values) != self.width:
            return None
        return {name: values[at] for at, name in self.columns.items() if values[at]}

    @cached_property
    def paths(self) -> dict[str, tuple[Path | str, ...]]:
        """:attr:`fields`, each source as its steps or as the text that it stands for."""
        return {name: tuple(map(_path, found)) for name, found in self.fields.items()}

    @cached_property
    def property_paths(self) -> tuple[Path, ...]:
        """:attr:`properties` as steps."""
        return tuple(path for path in map(_path, self.properties) if isinstance(path, tuple))

    @cached_property
    def batch_paths(self) -> list[tuple[str, ...]]:
        """:attr:`batch` as names."""
        return [tuple(map(str, _path(source))) for source in self.batch]

    @cached_property
    def used(self) -> frozenset[str]:
        """Names of a record's own fields of which something is taken."""
        first = [path[0] for paths in self.paths.values() for path in paths if isinstance(path, tuple)]
        return frozenset(step for step in first if isinstance(step, str))

    def apply(self, record: Names[str, Any]) -> dict[str, Any]:
        """The members of the event that a record stands for; what is not found is not there."""
        found: dict[str, Any] = {}
        for name in (*TARGETS, *CONTEXT):
            value = self._value(name, record)
            if value is not None:
                found[name] = value
        if "action" in found:
            found["action"] = self.actions.get(found["action"], found["action"])
        return found

    def _value(self, name: str, record: Names[str, Any]) -> Any:
        for path in self.paths.get(name, ()):
            value = path if isinstance(path, str) else _at(record, path)
            if value is None or value == "" or isinstance(value, dict | list):
                continue
            text = self._written(name, value)
            if text is not None:
                return text
        return None

    def _written(self, name: str, value: Any) -> str | None:
        """A value as the contract has the field."""
        if name in ("timestamp", "sent_at"):
            return self._time(value)
        text = value if isinstance(value, str) else json.dumps(value)
        if name == "page":
            return _page(text)
        if name == "outcome":
            return OUTCOMES.get(text.lower(), text)
        return None if name == "session_id" and text == NO_SESSION else text

    def _time(self, value: Any) -> str | None:
        text = str(value)
        if isinstance(value, str) and not re.fullmatch(r"-?\d+(?:\.\d+)?", text):
            return f"{text.replace(' ', 'T')}Z" if self.zone_is_utc and _NAIVE.fullmatch(text) else text
        try:
            number = float(text)
            unit = self.unit if self.unit != "auto" else _unit_of(abs(number))
            micros = int(text) * 1_000_000 // UNITS[unit] if "." not in text else round(number * 1e6 / UNITS[unit])
            when = EPOCH + timedelta(microseconds=micros)
        except (OverflowError, ValueError):
            return text
        return when.isoformat().replace("+00:00", "Z")


def _unit_of(number: float) -> str:
    """The unit in which a number is a time of our days: each is a thousand times the one before."""
    if number < 1e11:
        return "seconds"
    if number < 1e14:
        return "milliseconds"
    return "microseconds" if number < 1e17 else "nanoseconds"


def _page(text: str) -> str:
    """The path of a URL, without its query, which may hold secrets; any other name of a page as it is."""
    origin = _ORIGIN.match(text)
    if origin is None:
        return text
    return text[origin.end() :].partition("?")[0].partition("#")[0] or "/"


def _path(source: str) -> Path | str:
    """A source as its steps, or as the text that it stands for."""
    if source.startswith(CONSTANT):
        return source.removeprefix(CONSTANT)
    steps: list[tuple[str, str] | str | int] = []
    at = 0
    for match in _STEP.finditer(source):
        if source[at : match.start()] not in ("", "."):
            break
        at = match.end()
        quoted, bare, index, key, value = match.groups()
        name = bare if quoted is None else quoted
        steps.append(name if name is not None else int(index) if index is not None else (key, value))
    if at != len(source) or not steps:
        raise ConfigurationError(
            f'A mapping has the source {source!r}, which is no path such as a.b, a."b c", a[0].b or a[key=x].b, and no '
            "constant such as =view."
        )
    return tuple(steps)


def _at(record: Any, path: Path) -> Any:
    for number, step in enumerate(path):
        if isinstance(step, str):
            if not isinstance(record, dict):
                return None
            if step in record:
                record = record[step]
                continue
            # ECS and OpenTelemetry write a.b as one name, too.
            rest = [part for part in path[number:] if isinstance(part, str)]
            return record.get(".".join(rest)) if len(rest) == len(path) - number else None
        if not isinstance(record, list):
            return None
        if isinstance(step, int):
            record = record[step] if step < len(record) else None
        else:
            key, value = step
            record = next((one for one in record if isinstance(one, dict) and one.get(key) == value), None)
    return record


def mapping_of(name: str, spec: Names[str, Any]) -> EventMapping:
    """A mapping of the settings: a source or a list of them by field, and ``actions``, ``unit`` and the like.

    Raises:
        ConfigurationError: something in it is not known, or has another type.
    """
    options = {key: value for key, value in spec.items() if key not in (*TARGETS, *CONTEXT)}
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        known = ", ".join((*TARGETS, *CONTEXT, *OPTIONS))
        raise ConfigurationError(f"Mapping {name} has {', '.join(unknown)}; there are {known}.")
    if options.get("unit", "auto") not in ("auto", *UNITS):
        raise ConfigurationError(f"Mapping {name} has the unit {options['unit']}; needed auto, {', '.join(UNITS)}.")
    for key in ("properties", "batch"):
        if key in options:
            options[key] = _texts(name, key, options[key])
    fields = {key: _texts(name, key, value) for key, value in spec.items() if key in (*TARGETS, *CONTEXT)}
    return EventMapping(name, fields, **options)


def _texts(name: str, key: str, value: object) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in texts):
        raise ConfigurationError(f"Mapping {name} has {key}: {value!r}; needed a text or a list of texts.")
    return tuple(texts)
