"""Kafka value -> event or rejected record, with a reason. Every record gets exactly one verdict.

The contract of an event
    One JSON object in UTF-8. ``user_id``, ``action``, ``page`` and ``timestamp`` are required strings; ``event_id``,
    ``session_id``, ``sent_at`` are optional strings and ``properties`` is an optional object. An optional field that
    is null is as good as absent, and so is a blank ``event_id`` or ``session_id``: it identifies nothing, and taken as
    an id it would merge strangers.
Actions
    ``click``, ``view`` and ``interaction`` are recognised in any case and written in lower case; others stay as sent.
Properties
    A map of texts: strings as sent, every other value as written (``19.90`` stays ``19.90``, a nested value is its
    JSON text), null as null. Fields the contract does not name are added. Where ``properties`` has that name already,
    its own value wins and the extra field is kept under its JSON path, ``$.name``. Null when there are none.
Context
    ``ip``, ``user_agent``, ``device_id``, ``country`` and ``outcome``, where they are fields or properties, become
    columns (:mod:`features.context`). A value that makes no sense stays a property and is named in ``invalid_fields``.
Times
    ISO-8601 date and time with an offset: ``2024-10-05T12:00:00.123Z``. Also taken are a blank or ``t`` for ``T``,
    ``z``, no seconds, up to nine decimals (cut to microseconds), and offsets ``+05:30``, ``+0530`` and ``+05`` up to
    18 hours. Not taken are epoch numbers, other calendars' forms, second 60 and hour 24.
Order
    The first reason that applies wins, in the order of :data:`REASONS`; within one reason, fields count in the order of
    the table's columns. Two reasons are found in two places: ``too_large`` and ``not_utf8`` come before all that read
    the text; a number no one can hold (NaN, Infinity, 1e400) is ``wrong_type`` before missing fields are looked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from features.errors import ConfigurationError
from features.schemas.mapping import EventMapping

REASONS: dict[str, str] = {
    "tombstone": "The record has no value: Kafka's mark for a deleted key.",
    "too_large": "The value is longer than ingest.max_bytes (a batch: max_batch_bytes), or has an endless number.",
    "empty": "The value has no bytes, or nothing but blanks.",
    "not_utf8": "The bytes are not UTF-8, or an escape stands for half a surrogate pair, which is no character.",
    "undecodable": "Packed or encoded bytes that are damaged, or of a schema that the schema registry does not know.",
    "not_json": "The text is not JSON: cut off, garbled, packed, or in another encoding.",
    "too_deep": "The JSON is nested deeper than ingest.max_depth.",
    "not_an_object": "The value is JSON, but not one object: an array, a string, a number, a boolean or null.",
    "trailing_data": "More follows the JSON object: a second event, or garbage.",
    "control_character": "A string holds a raw control character, or an escaped NUL.",
    "duplicate_key": "A key occurs twice in the same object, so which value is meant is unknown.",
    "no_request": "A line of a server's log that asks for nothing, or nobody known: replay_file says so in its place.",
    "missing_field": "A required field is not there, or is null.",
    "wrong_type": "A field has a value of another type, or a number is beyond every range (NaN, Infinity, 1e400).",
    "empty_user_id": "user_id is empty or blank, so the event belongs to nobody.",
    "empty_field": "action or page is empty or blank.",
    "bad_timestamp": "A time is not an ISO-8601 date and time that exists, or is a number.",
    "naive_timestamp": "A time has no offset from UTC, so when it was is unknown.",
    "timestamp_out_of_range": "A time is before ingest.oldest, or further ahead than ingest.max_future_seconds.",
    "arrived_too_late": "The event's time is further before its arrival in Kafka than ingest.max_late_seconds.",
    "duplicate_event_id": "An event with this event_id was accepted within ingest.dedupe_window_seconds.",
    "erased_user": "The person was erased: only the place of the record in Kafka is kept, none of its bytes.",
}
"""Why a record is no event. The order is that of the checks: ``undecodable`` is found before the validation, by the
decoders; the last two after it, by ingest."""

REQUIRED = ("user_id", "action", "page", "timestamp")
TIMES = ("timestamp", "sent_at")
IDS = ("event_id", "session_id")
FIELDS = (*REQUIRED, *IDS, "sent_at", "properties")
NO_REQUEST = "no_request"
"""A field of what a replay sends in place of a log line of which no event can be made: why."""
MAPPING_HEADER = "behavior-mapping"
"""A header of a record in Kafka: by which mapping it is read, in place of its topic's."""
KNOWN_ACTIONS = ("click", "view", "interaction")

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_RECORD = 16_000_000
DEEPEST = 200

Decoder = Callable[[bytes], Any]
"""Gives the bytes that a value stands for, why it stands for none (:class:`features.validation.Rejection`), or None of
a value that is not for it."""


@dataclass(frozen=True)
class ValidationRules:
    """Limits of what is taken for an event.

    Attributes:
        max_bytes: longest value that is read, in bytes.
        max_depth: deepest nesting of its JSON; the event itself is level 1, its properties are level 2.
        oldest: earliest time that is taken, with a zone.
        max_future_seconds: how far a time may be ahead of the record's ``ingested_at``.
        max_late_seconds: how far an event's time may be before Kafka received it; None: as far as ``oldest``. Counted
            from the arrival, so neither a pause of ours nor a later validation of the same record changes the verdict.
        mappings: how records of other schemas are read, by topic or by what :data:`MAPPING_HEADER` says.
        max_batch_bytes: longest value that is cut into the events that it holds, each of ``max_bytes`` at most; no
            shorter than ``max_bytes``.
        decoders: undo what was done to values, one after the other.

    Raises:
        ConfigurationError: a limit makes no sense.
    """

    max_bytes: int
    max_depth: int
    oldest: datetime
    max_future_seconds: int
    max_late_seconds: int | None = None
    mappings: Mapping[str, EventMapping] = field(default_factory=dict)
    max_batch_bytes: int = 1_048_576
    decoders: tuple[Decoder, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.max_bytes <= MAX_RECORD:
            raise ConfigurationError(f"ingest.max_bytes is {self.max_bytes}; needed: 1 to {MAX_RECORD}.")
        if not 1 <= self.max_batch_bytes <= MAX_RECORD:
            raise ConfigurationError(f"ingest.max_batch_bytes is {self.max_batch_bytes}; needed: 1 to {MAX_RECORD}.")
        if not 2 <= self.max_depth <= DEEPEST:
            raise ConfigurationError(f"ingest.max_depth is {self.max_depth}; needed: 2 (properties) to {DEEPEST}.")
        if self.oldest.tzinfo is None:
            raise ConfigurationError(f"ingest.oldest is {self.oldest.isoformat()}; needed: a time with an offset.")
        if self.max_future_seconds < 0:
            raise ConfigurationError(f"ingest.max_future_seconds is {self.max_future_seconds}; needed: 0 or more.")
        if self.max_late_seconds is not None and self.max_late_seconds < 0:
            raise ConfigurationError(f"ingest.max_late_seconds is {self.max_late_seconds}; needed: 0 or more, or null.")

    @cached_property
    def oldest_micros(self) -> int:
        """``oldest`` in microseconds since 1970."""
        return micros_of(self.oldest)


DEFAULT_RULES = ValidationRules(
    max_bytes=32_768, max_depth=32, oldest=datetime(2000, 1, 1, tzinfo=UTC), max_future_seconds=3_600
)
"""Those of conf/base.yaml, for senders that have no settings of ours."""


def micros_of(moment: datetime) -> int:
    """Microseconds since 1970 of a time with a zone."""
    return (moment - EPOCH) // timedelta(microseconds=1)
