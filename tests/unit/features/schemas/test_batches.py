"""Records that hold several events: each becomes a record of its own, and nothing else does."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features import records
from features.packed import null_where_empty, tables_in
from features.records import packer, validated
from features.schemas.batches import MOST_EVENTS, MOST_REPEATED, events_of
from features.schemas.mapping import mapping_of
from features.schemas.shipped import SHIPPED
from features.validation import Event, Rejection
from features.verdicts import WITHIN, Source, reading_of, verdict_of, verdicts_of
from tests.unit.features.event_cases import GOOD, NOON, RULES, event
from tests.unit.features.schemas.test_mapping import NOW, rules
from tests.unit.features.test_packed import some_records

NUMBER = b'{"user_id": "1", "action": "view", "page": "/", "timestamp": "2024-10-05T12:00:00Z", "price": 1.90}'
DEEP = b"[" * 2_000 + b"{}" + b"]" * 2_000


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"[" + NUMBER + b" ,\n" + event() + b"]", [NUMBER, event()]),
        (b" \n[ " + event() + b" ]\r\n", [event()]),
        (b'[{"a": 1}, 5, "x", null, [{}]]', [b'{"a": 1}', b"5", b'"x"', b"null", b"[{}]"]),
        (b'{"events": [' + NUMBER + b"]}", [NUMBER]),
        (b'{"user_id": "7", "batch": [{"page":"/"} , {}]}', [b'{"page":"/","user_id":"7"}', b'{"user_id":"7"}']),
        (b'{"batch": [{"user_id": "1"}], "user_id": "7", "n": 1.0}', [b'{"user_id": "1","n":1.0}']),
        (b'{"event_id": "e", "batch": [{"a": 1, "a": 2}, 5]}', [b'{"a": 1, "a": 2}', b"5"]),
        (
            b'{"batch": [{"x\\u00e9": "\\ud83e\\udd8a"}], "\\u00e9": 1}',
            [b'{"x\\u00e9": "\\ud83e\\udd8a","\\u00e9":1}'],
        ),
        (event(events=[{"user_id": "2"}]), None),
        (event(timestamp="soon", events=[{"user_id": "2"}]), None),
        (b"[]", None),
        (b"[1, 2]", None),
        (b'{"events": []}', None),
        (b'{"events": [1]}', None),
        (b'{"events": {"user_id": "1"}}', None),
        (b'{"batch": [{}], "batch": [{}]}', None),
        (b"[" + event() + b"] x", None),
        (b"[" + event() + b",]", None),
        (b"[" + event(), None),
        (b"\xff[{}]", None),
        (b'[{"a": "\xff"}]', None),
        (b'[{"a": NaN}]', None),
        (DEEP, None),
        (event(), None),
        (b"", None),
    ],
)
def test_what_is_several_events_is_cut_and_nothing_else(value: bytes, expected: list[bytes] | None) -> None:
    assert events_of(value, RULES, None) == expected


leaves = st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.text(max_size=5)
objects = st.dictionaries(st.sampled_from(["user_id", "page", "x", "é", 'a"b', "event_id"]), leaves, max_size=4)


@given(st.lists(objects, min_size=1, max_size=5), objects, st.booleans(), st.sampled_from([None, 2]))
def test_an_event_has_its_own_members_and_those_around_it(
    events: list[dict[str, Any]], around: dict[str, Any], in_ascii: bool, indent: int | None
) -> None:
    whole = {**around, "events": events}
    value = json.dumps(whole, ensure_ascii=in_ascii, indent=indent).encode()
    found = events_of(value, replace(RULES, max_batch_bytes=100_000), None)
    shared = {name: one for name, one in around.items() if name != "event_id"}
    if isinstance(found, Rejection):
        assert sum(len(json.dumps(shared | one)) for one in events) > MOST_REPEATED * len(value) / 2
        return
    assert found is not None
    assert [json.loads(text) for text in found] == [shared | one for one in events]


def test_what_is_too_large_is_refused_with_the_limit() -> None:
    several = b"[" + b",".join([event()] * 50) + b"]"
    assert len(several) > RULES.max_bytes
    found = events_of(several, RULES, None)
    assert isinstance(found, list)
    assert len(found) == 50
    refused = events_of(several, replace(RULES, max_bytes=1_000, max_batch_bytes=64), None)
    assert refused == Rejection("too_large", None, f"{len(several)} bytes; a batch may have 1000")
    assert events_of(event(batch=[{}], page=None), replace(RULES, max_batch_bytes=64), None) is not None
    tiny = b"[" + b"{}," * MOST_EVENTS + b"{}]"
    assert events_of(tiny, RULES, None) == Rejection("too_large", None, f"more than {MOST_EVENTS} events in one record")
    refused = events_of(b"[{},{},{},{},{},{}]", RULES, None, beside=10_000)
    assert isinstance(refused, list)
    refused = events_of(b"[" + b"{}," * 20 + b"{}]", RULES, None, beside=10_000)
    assert isinstance(refused, Rejection), "key and headers are repeated, too"
    repeated = json.dumps({"note": "x" * 1_000, "events": [{}] * 500}).encode()
    refused = events_of(repeated, RULES, None)
    assert isinstance(refused, Rejection)
    assert refused.reason == "too_large"
    assert f"more than {MOST_REPEATED} times its {len(repeated)} bytes" in str(refused.detail)


OTLP = {
    "resourceLogs": [
        {
            "resource": {"attributes": []},
            "scopeLogs": [
                {
                    "scope": {"name": "web"},
                    "logRecords": [
                        {
                            "timeUnixNano": "1760529600000000000", "eventName": "click",
                            "attributes": [
                                {"key": "user.id", "value": {"stringValue": user}},
                                {"key": "url.path", "value": {"stringValue": "/a"}},
                            ],
                        }
                        for user in users
                    ],
                }
            ],
        }
        for users in (["u1", "u2"], ["u3"])
    ]
}  # fmt: skip
BATCHES: list[tuple[str, dict[str, Any], list[tuple[str, str, str, str | None]]]] = [
    (
        "segment",
        {
            "writeKey": "k", "sentAt": "2025-10-15T12:00:01Z", "messageId": "of the batch",
            "batch": [
                {
                    "type": "track", "event": "Product Added", "userId": "u1", "messageId": "e1",
                    "timestamp": "2025-10-15T12:00:00Z", "properties": {"path": "/a"},
                },
                {"type": "page", "anonymousId": "a1", "messageId": "e2", "properties": {"path": "/b"}},
                {"type": "page", "anonymousId": "a2", "properties": {"path": "/c"}},
            ],
        },
        [("u1", "add_to_cart", "/a", "e1"), ("a1", "view", "/b", "e2"), ("a2", "view", "/c", None)],
    ),
    (
        "posthog",
        {
            "api_key": "k",
            "batch": [
                {
                    "event": "$pageview", "properties": {"distinct_id": "u1", "$pathname": "/a"}, "uuid": "e1",
                    "timestamp": "2025-10-15T12:00:00Z",
                },
                {
                    "event": "$autocapture", "distinct_id": "u2", "properties": {"$pathname": "/b"},
                    "timestamp": "2025-10-15T12:00:02Z",
                },
            ],
        },
        [("u1", "view", "/a", "e1"), ("u2", "click", "/b", None)],
    ),
    (
        "ga4_measurement",
        {
            "client_id": "c1", "user_id": "u1", "timestamp_micros": "1760529600000000",
            "events": [
                {"name": "page_view", "params": {"page_location": "https://x.example/a?q=1", "session_id": "77"}},
                {"name": "purchase", "params": {"value": 7.5}, "timestamp_micros": "1760529601000000"},
            ],
        },
        [("u1", "view", "/a", None), ("u1", "purchase", "/", None)],
    ),
    (
        "amplitude",
        {
            "api_key": "k",
            "events": [
                {"user_id": "u1", "event_type": "open", "time": 1760529600000, "insert_id": "e1"},
                {"device_id": "d1", "event_type": "close", "time": 1760529601000},
            ],
        },
        [("u1", "open", "/", "e1"), ("d1", "close", "/", None)],
    ),
    (
        "matomo",
        {
            "idVisit": "8", "visitorId": "v1", "serverTimestamp": 1760529660,
            "actionDetails": [
                {"type": "action", "url": "https://x.example/a", "timestamp": 1760529600, "idpageview": "p"},
                {"type": "outlink", "url": "https://y.example/", "timestamp": 1760529630, "idpageview": "p"},
            ],
        },
        [("v1", "view", "/a", None), ("v1", "click", "/", None)],
    ),
    (
        "opentelemetry",
        OTLP,
        [("u1", "click", "/a", None), ("u2", "click", "/a", None), ("u3", "click", "/a", None)],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "record", "expected"), BATCHES, ids=[name for name, *_ in BATCHES])
def test_batches_of_shipped_schemas_are_their_events(
    name: str, record: dict[str, Any], expected: list[tuple[str, str, str, str | None]]
) -> None:
    found = verdicts_of(json.dumps(record).encode(), rules(topic=SHIPPED[name]), NOW, None, Source("topic"))
    events = [verdict for _, verdict in found if isinstance(verdict, Event)]
    assert [(one.user_id, one.action, one.page, one.event_id) for one in events] == expected, found
    for text, verdict in found:
        assert verdict_of(text, rules(topic=SHIPPED[name]), NOW, None, Source("topic")) == verdict


def test_a_span_with_events_in_it_is_one_event_where_the_mapping_names_another_place() -> None:
    span = {
        "name": "click", "startTimeUnixNano": "1760529600000000000", "events": [{"name": "x"}, {"name": "y"}],
        "attributes": [{"key": "user.id", "value": {"stringValue": "u1"}}],
    }  # fmt: skip
    reading = reading_of(json.dumps(span).encode(), rules(topic=SHIPPED["opentelemetry"]), NOW, None, Source("topic"))
    assert isinstance(reading, Event)


def test_records_that_hold_several_events_are_as_many_rows_that_can_be_validated_again() -> None:
    several = b"[" + b",".join([event(event_id="a"), NUMBER, b"5", event(price=1e3)]) + b"]"
    around = json.dumps({"user_id": "9", "batch": [{**GOOD, "user_id": None}, {"page": "/x"}]}).encode()
    values: list[bytes | None] = [event(), several, b"no event", around, None, b"[1]"]
    came = null_where_empty(some_records(values))
    noon = pa.array([NOON] * len(values), pa.int64()).cast(pa.timestamp("us", tz="UTC"))
    for name in ("timestamp", "ingested_at"):
        came = came.set_column(came.schema.get_field_index(name), name, noon)
    found = validated(came, RULES).sort_by([("offset", "ascending"), ("part", "ascending")])
    assert [(row["offset"], row["part"], row["parts"], row["reason"]) for row in found.to_pylist()] == [
        (0, None, None, None),
        (1, 1, 4, None),
        (1, 2, 4, None),
        (1, 3, 4, "not_an_object"),
        (1, 4, 4, None),
        (2, None, None, "not_json"),
        (3, 1, 2, "missing_field"),
        (3, 2, 2, "missing_field"),
        (4, None, None, "tombstone"),
        (5, None, None, "not_an_object"),
    ]
    assert found["raw"].to_pylist()[2] == NUMBER
    as_they_came = found.select(["kafka_key", "headers", "topic", "partition", "ingest_id"]).to_pylist()
    assert as_they_came[1] == as_they_came[4]

    names = {"value": "raw", "key": "kafka_key", "timestamp": "received_at"}
    kept = found.select([*[names.get(name, name) for name in came.schema.names], "part", "parts"])
    kept = kept.rename_columns([*came.schema.names, "part", "parts"])
    (batch,) = kept.combine_chunks().to_batches()
    again = validated(batch, RULES).sort_by([("offset", "ascending"), ("part", "ascending")])
    assert again.to_pylist() == found.to_pylist()


def test_a_batch_without_a_place_for_its_events_in_the_mapping_is_one_record() -> None:
    value = json.dumps({"userId": "u1", "event": "x", "timestamp": "2025-10-15T12:00:00Z", "list": [{}]}).encode()
    chosen = {**SHIPPED["segment"], "batch": "list"}
    assert isinstance(reading_of(value, rules(topic=SHIPPED["segment"]), NOW, None, Source("topic")), Event)
    assert isinstance(reading_of(value, rules(topic=chosen), NOW, None, Source("topic")), list)


OWN = {"user_id": "u", "action": "=a", "page": "=/", "timestamp": "t"}


def mapped_batch(value: bytes, batch: str, **fields: str) -> list[Any] | None:
    """The events by a mapping that finds them there, as JSON."""
    found = events_of(value, RULES, mapping_of("own", {**OWN, "batch": batch, **fields}))
    assert not isinstance(found, Rejection)
    return None if found is None else [json.loads(one) for one in found]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b'{"data":{"items":[{"u":1},{"u":2}]}}', [{"u": 1}, {"u": 2}]),
        (b'{"data":[{"items":[{"u":1}],"t":5},{"items":[{"u":2}]}]}', [{"u": 1, "t": 5}, {"u": 2}]),
        (b'{"data":[{"u":"lost?"},{"items":[{"u":2}]},{"items":[]}]}', [{"u": "lost?"}, {"u": 2}]),
        (b'{"data":[{"items":{"u":1}},{"items":[{"u":2}]},5]}', [{"items": {"u": 1}}, {"u": 2}, 5]),
        (b'{"data":[{"items":[]}]}', None),
        (b'{"items":[{"u":1}]}', None),
    ],
)
def test_whatever_is_on_the_way_to_the_events_is_a_record_or_goes_with_them(value: bytes, expected: Any) -> None:
    assert mapped_batch(value, "data.items") == expected


def test_what_says_two_things_on_the_way_is_left_as_it_stands() -> None:
    value = b'{"data":[{"items":[{"u":1}],"items":[{"u":2}]},{"items":[{"u":3}]}]}'
    chosen = mapping_of("own", {**OWN, "batch": "data.items"})
    assert events_of(value, RULES, chosen) == [b'{"items":[{"u":1}],"items":[{"u":2}]}', b'{"u":3}']


def test_names_are_found_however_they_are_written_and_ids_wherever_they_are() -> None:
    assert mapped_batch('{"événements":[{"u":1}]}'.encode(), '"événements"') == [{"u": 1}]
    assert mapped_batch(json.dumps({"événements": [{"u": 1}]}).encode(), '"événements"') == [{"u": 1}]
    value = b'{"meta":{"id":"e","user":"x","deep":{"id":"kept"}},"meta.id":"e","event_id":"e","batch":[{"n":1}]}'
    found = mapped_batch(value, "batch", event_id="meta.id")
    assert found == [{"n": 1, "meta": {"user": "x", "deep": {"id": "kept"}}}]


def test_objects_without_end_on_the_way_cost_no_more_than_they_are_long() -> None:
    around = ",".join(f'"m{n}":{n}' for n in range(20_000))
    ways = ",".join(['{"items":[]}'] * 20_000 + ['{"items":[{}]}'])
    value = f'{{{around},"data":[{ways}]}}'.encode()
    chosen = mapping_of("own", {**OWN, "batch": "data.items"})
    found = events_of(value, replace(RULES, max_batch_bytes=10**6), chosen)
    assert isinstance(found, Rejection), "it is given up before all is looked at with all"


def test_an_event_that_holds_events_is_refused_where_each_is_sent_by_itself() -> None:
    within = [{"name": "x", "events": [{"a": 1}]}]
    value = json.dumps({"client_id": "c", "timestamp_micros": 1, "events": within}).encode()
    ((text, verdict),) = verdicts_of(value, rules(topic=SHIPPED["ga4_measurement"]), NOW, None, Source("topic"))
    assert verdict == WITHIN
    assert isinstance(reading_of(text, rules(topic=SHIPPED["ga4_measurement"]), NOW, None, Source("topic")), list)


def test_packs_stay_small_however_much_is_in_the_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "PACK_BYTES", 20_000)
    monkeypatch.setattr(records, "MOST_AT_ONCE", 50)
    several = b"[" + b",".join([event(event_id=str(n)) for n in range(30)]) + b"]"
    found = list(packer(RULES)(iter([some_records([several] * 20)])))
    tables = [table for batch in found for table in tables_in(batch["records"])]
    at_once = [table.num_rows for table in records.validated_in_parts(some_records([several] * 20), RULES)]
    assert max(at_once) < 200, "they are not all in memory before the first is packed"
    assert sum(table.num_rows for table in tables) == 600
    assert max(table.nbytes for table in tables) < 3 * 20_000
    places = {(row["offset"], row["part"]) for table in tables for row in table.select(["offset", "part"]).to_pylist()}
    assert len(places) == 600
