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

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructField, StructType

from features import judging, packed
from features.columns import cast_to, shaped
from features.errors import ConfigurationError, SchemaError
from features.plain_json import NO_LIMIT, Ints
from features.tables import COORDINATES, EVENTS, REJECTED_EVENTS

REASONS: dict[str, str] = {
    "tombstone": "The record has no value: Kafka's mark for a deleted key.",
    "too_large": "The value is longer than ingest.max_bytes, or has a number of more than 1000 digits.",
    "empty": "The value has no bytes, or nothing but blanks.",
    "not_utf8": "The bytes are not UTF-8, or an escape stands for half a surrogate pair, which is no character.",
    "not_json": "The text is not JSON: cut off, garbled, packed, or in another encoding.",
    "too_deep": "The JSON is nested deeper than ingest.max_depth.",
    "not_an_object": "The value is JSON, but not one object: an array, a string, a number, a boolean or null.",
    "trailing_data": "More follows the JSON object: a second event, or garbage.",
    "control_character": "A string holds a raw control character, or an escaped NUL.",
    "duplicate_key": "A key occurs twice in the same object, so which value is meant is unknown.",
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
"""Why a record is no event. The order is the order of judging; the last two are found by ingest, after judging."""

RECORD = ("key", "value", "headers", "topic", "partition", "offset", "timestamp", "ingested_at", "ingest_id")
POSITION = tuple(column.name for column in COORDINATES)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LONGEST_RECORD = 16_000_000
DEEPEST = 200

VISIBLE = r"[^\s\p{Z}\p{Cc}\p{Cf}]"
DATE_AND_TIME = r"^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?"
OFFSET = r"(?:[Zz]|[+-]\d\d(?::?\d\d)?)$"


@dataclass(frozen=True)
class JudgingRules:
    """Limits of what is taken for an event.

    Attributes:
        max_bytes: longest value that is judged, in bytes.
        max_depth: deepest nesting of its JSON; the event itself is level 1, its properties are level 2.
        oldest: earliest time that is taken, with a zone.
        max_future_seconds: how far a time may be ahead of the record's ``ingested_at``.
        max_late_seconds: how far an event's time may be before Kafka received it; None: as far as ``oldest``. Counted
            from the arrival, so neither a pause of ours nor a later judgement of the same record changes the verdict.

    Raises:
        ConfigurationError: a limit makes no sense.
    """

    max_bytes: int
    max_depth: int
    oldest: datetime
    max_future_seconds: int
    max_late_seconds: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.max_bytes <= LONGEST_RECORD:
            raise ConfigurationError(f"ingest.max_bytes is {self.max_bytes}; needed: 1 to {LONGEST_RECORD}.")
        if not 2 <= self.max_depth <= DEEPEST:
            raise ConfigurationError(f"ingest.max_depth is {self.max_depth}; needed: 2 (properties) to {DEEPEST}.")
        if self.oldest.tzinfo is None:
            raise ConfigurationError(f"ingest.oldest is {self.oldest.isoformat()}; needed: a time with an offset.")
        if self.max_future_seconds < 0:
            raise ConfigurationError(f"ingest.max_future_seconds is {self.max_future_seconds}; needed: 0 or more.")
        if self.max_late_seconds is not None and self.max_late_seconds < 0:
            raise ConfigurationError(f"ingest.max_late_seconds is {self.max_late_seconds}; needed: 0 or more, or null.")


def judge(records: DataFrame, rules: JudgingRules) -> DataFrame:
    """Give every record its verdict.

    Args:
        records: Kafka's columns ``key``, ``value``, ``headers``, ``topic``, ``partition``, ``offset`` and ``timestamp``
            (the source option ``includeHeaders`` is on), and the reader's ``ingested_at`` and ``ingest_id``.
        rules: the limits.

    Returns:
        One row per record: ``reason`` (null: accepted), ``field`` and ``detail`` (up to 200 characters), all columns of
        events (null where rejected) and all coordinates. Works on streams and batches alike.

    Raises:
        SchemaError: ``records`` lacks a column.
    """
    return judge_in_packs(records, rules).mapInArrow(packed.unpack, packed.JUDGED)


def judge_in_packs(records: DataFrame, rules: JudgingRules) -> DataFrame:
    """:func:`judge` with events beyond doubt in packs (:mod:`features.packed`), for who can write them as they are.

    Returns:
        Rows of two kinds. A pack has ``events``, ``arrivals``, ``ingested_at`` and ``ingest_id``, and nothing else. In
        a row of one record the first two are null, and the other columns are as :func:`judge` has them, but that lists
        and maps are empty in place of null.
    """
    require(records, RECORD)
    read = with_plain(records, rules).transform(with_text, rules).transform(with_reading, rules)
    judged = read.transform(with_times, rules).transform(with_verdict, rules).transform(as_judged)
    return packed.without_null_lists(judged)


def accepted(judged: DataFrame) -> DataFrame:
    """The events among the judged records, in the schema order of table ``events``."""
    return shaped(judged.where(F.col("reason").isNull()), EVENTS.schema)


def rejected(judged: DataFrame) -> DataFrame:
    """The records that are no event, in the schema order of table ``rejected_events``."""
    return shaped(judged.where(F.col("reason").isNotNull()), REJECTED_EVENTS.schema)


def require(records: DataFrame, columns: Iterable[str]) -> None:
    lacking = [name for name in columns if name not in records.columns]
    if lacking:
        hint = " Set the Kafka source's option includeHeaders." if "headers" in lacking else ""
        raise SchemaError(f"Records lack {', '.join(lacking)}; found {', '.join(records.columns)}.{hint}")


def coordinates() -> list[str]:
    """SQL: Kafka's columns under the names of the tables."""
    source = {"raw": "value", "kafka_key": "key", "received_at": "timestamp"}
    return [cast_to(source.get(column.name, column.name), column) for column in COORDINATES]


def with_plain(records: DataFrame, rules: JudgingRules) -> DataFrame:
    """``plain``: a pack of events beyond doubt, else null. These are most records, and they need no more."""
    rows = packed.without_null_lists(records.select(*RECORD))
    fields = [StructField(field.name, field.dataType) for field in (*rows.schema, packed.PLAIN)]
    return rows.mapInArrow(packed.packer(limits_of(rules)), StructType(fields))


def limits_of(rules: JudgingRules) -> Ints:
    """As :func:`features.plain_reading.plain_readings` takes them."""
    second = 1_000_000
    late = NO_LIMIT if rules.max_late_seconds is None else rules.max_late_seconds * second
    limits = (rules.max_bytes, rules.max_depth, _micros(rules.oldest), rules.max_future_seconds * second, late)
    return np.array(limits, np.int64)


def _micros(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


def with_text(records: DataFrame, rules: JudgingRules) -> DataFrame:
    """The coordinates; ``fault`` of the bytes; and ``text``, the value as a string where it has to be read closely."""
    size = "octet_length(raw)"
    limit = f"{size} || ' bytes; the limit is {rules.max_bytes}'"
    fault = judging.first_of(
        ("plain IS NOT NULL", "NULL"),
        ("raw IS NULL", judging.fault("tombstone")),
        (f"{size} > {rules.max_bytes}", judging.fault("too_large", detail=limit)),
        (judging.matches("text", r"^[ \t\n\r]*+$"), judging.fault("empty", detail=f"{size} || ' bytes'")),
        ("startswith(raw, X'1F8B')", judging.fault("not_json", detail="'gzip bytes: send them unpacked'")),
        ("startswith(raw, X'FFFE')", judging.fault("not_json", detail="'UTF-16 or UTF-32 text: send UTF-8'")),
        ("startswith(raw, X'FEFF')", judging.fault("not_json", detail="'UTF-16 text: send UTF-8'")),
        ("NOT is_valid_utf8(text)", judging.fault("not_utf8", detail="'bytes that are no UTF-8'")),
    )
    text = "CASE WHEN plain IS NULL THEN CAST(value AS STRING) END AS text"
    return (
        records.selectExpr(*coordinates(), "plain", text)
        .selectExpr("*", f"{fault} AS fault")
        .selectExpr(*POSITION, "plain", "fault", "CASE WHEN fault IS NULL THEN text END AS text")
    )


def with_reading(records: DataFrame, rules: JudgingRules) -> DataFrame:
    """Of records that are not ``plain``: the text fields (as texts), ``properties``, and ``fault`` so far."""
    reading = judging.strict_reading("text", depth=rules.max_depth, longest=rules.max_bytes)
    return records.selectExpr(
        *POSITION, "plain", "fault", f"CASE WHEN text IS NOT NULL THEN {reading} END AS strict"
    ).selectExpr(
        *POSITION,
        "plain",
        "coalesce(fault, strict.verdict) AS fault",
        *[f"strict.texts['{name}'] AS {name}" for name in judging.TEXTS],
        "strict.properties AS properties",
    )


def with_times(records: DataFrame, rules: JudgingRules) -> DataFrame:
    """``NAME_time``: the instant of a time; ``NAME_fault``: the reason not to take it, if any."""
    oldest = _micros(rules.oldest)
    latest = f"unix_micros(ingested_at) + {rules.max_future_seconds * 1_000_000}"
    late = {}
    if rules.max_late_seconds is not None:
        earliest = f"unix_micros(received_at) - {rules.max_late_seconds * 1_000_000}"
        late["timestamp"] = f" WHEN unix_micros(timestamp_time) < {earliest} THEN 'arrived_too_late'"
    times = records.selectExpr("*", *[f"{instant(name)} AS {name}_time" for name in judging.TIMES])
    faults = [
        f"CASE WHEN {name} IS NULL THEN NULL"
        f" WHEN {name}_time IS NULL THEN if({is_naive(name)}, 'naive_timestamp', 'bad_timestamp')"
        f" WHEN unix_micros({name}_time) NOT BETWEEN {oldest} AND {latest} THEN 'timestamp_out_of_range'"
        f"{late.get(name, '')} END AS {name}_fault"
        for name in judging.TIMES
    ]
    return times.selectExpr("*", *faults)


def instant(text: str) -> str:
    """SQL: the instant of an ISO-8601 text with an offset; null where it names none."""
    other = f"try_cast({usual_form(text)} AS TIMESTAMP)"
    return f"CASE WHEN {judging.matches(text, DATE_AND_TIME + OFFSET)} THEN {other} END"


def is_naive(text: str) -> str:
    """SQL: whether the text is a date and time that exists, but has no offset."""
    with_offset = f"try_cast({usual_form(text)} || 'Z' AS TIMESTAMP)"
    return f"{judging.matches(text, DATE_AND_TIME + '$')} AND {with_offset} IS NOT NULL"


def usual_form(text: str) -> str:
    return rf"regexp_replace(translate({text}, 'tz', 'TZ'), r'^(.{{10}}[T ]\d\d:\d\d)(?!:)', '$1:00')"


def with_verdict(records: DataFrame, rules: JudgingRules) -> DataFrame:
    """``reason``: the fault found before, else the first one among the fields. ``told``: its field and detail."""
    time_reasons = ("bad_timestamp", "naive_timestamp", "timestamp_out_of_range", "arrived_too_late")
    times = " ".join(f"WHEN '{r}' IN (timestamp_fault, sent_at_fault) THEN '{r}'" for r in time_reasons)
    reason = (
        f"CASE WHEN fault IS NOT NULL THEN fault.reason WHEN {is_blank('user_id')} THEN 'empty_user_id'"
        f" WHEN {is_blank('action')} OR {is_blank('page')} THEN 'empty_field' {times} END"
    )
    field = (
        "CASE WHEN reason = 'empty_user_id' THEN 'user_id'"
        f" WHEN reason = 'empty_field' THEN if({is_blank('action')}, 'action', 'page')"
        " WHEN reason = timestamp_fault THEN 'timestamp' ELSE 'sent_at' END"
    )
    hints = {
        "bad_timestamp": "; needed ISO-8601 text with an offset",
        "naive_timestamp": "; its offset is missing, such as Z or +02:00",
        "timestamp_out_of_range": f"; taken from {rules.oldest.isoformat()} to {rules.max_future_seconds} s from now",
        "arrived_too_late": f"; taken up to {rules.max_late_seconds} s after it was",
    }
    pairs = ", ".join(f"'{name}', '{text}'" for name, text in hints.items())
    found = f"""'found "' || left(if(field = 'timestamp', timestamp, sent_at), {judging.CLIP}) || '"'"""
    detail = f"coalesce({found} || map({pairs})[reason], 'blank')"
    told = judging.let("field", field, judging.fault("", "field", detail))
    return records.selectExpr("*", f"{reason} AS reason").selectExpr(
        "*", f"coalesce(fault, CASE WHEN reason IS NOT NULL THEN {told} END) AS told"
    )


def is_blank(text: str) -> str:
    return f"NOT {judging.matches(text, VISIBLE)}"


def as_judged(records: DataFrame) -> DataFrame:
    """One explicit row per pack or record in doubt."""
    known = ", ".join(f"'{name}'" for name in packed.KNOWN_ACTIONS)
    lower = "lower(action)"
    is_known = f"{lower} IN ({known}) AND octet_length({lower}) = octet_length(action)"
    kept = {
        **{name: name for name in ("user_id", "action", "page")},
        **{name: f"if({is_blank(name)}, NULL, {name})" for name in judging.IDS},
        **{name: f"{name}_time" for name in judging.TIMES},
        "properties": "if(size(properties) > 0, properties, NULL)",
    }
    accepted_only = [f"CASE WHEN reason IS NULL THEN {value} END AS {name}" for name, value in kept.items()]
    changed = {
        "action": f"if({is_known}, {lower}, action)",
        "event_key": "if(event_id IS NULL, NULL, xxhash64(event_id))",
    }
    return records.selectExpr("plain", "reason", "told", *accepted_only, *POSITION).selectExpr(
        "plain.events",
        "plain.arrivals",
        "reason",
        "told.field AS field",
        "told.detail AS detail",
        *[f"{changed.get(name, name)} AS {name}" for name in EVENTS.columns],
    )
