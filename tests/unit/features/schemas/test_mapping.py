"""Events of other schemas become events of the contract, by mappings that are shipped or given."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from features.errors import ConfigurationError
from features.events import MAPPING_HEADER, ValidationRules, micros_of
from features.packed import null_where_empty
from features.records import validated
from features.schemas.mapping import mapping_of
from features.schemas.shipped import SHIPPED
from features.validation import Event, Rejection
from features.verdicts import Source, verdict_of
from settings import load_settings
from streams.rules import validation_rules
from tests.unit.features.test_packed import event as contract_event
from tests.unit.features.test_packed import some_records

NOW = micros_of(datetime(2026, 1, 1, tzinfo=UTC))
NOON = micros_of(datetime(2025, 10, 15, 12, tzinfo=UTC))


def rules(**mappings: Any) -> ValidationRules:
    chosen = {name: mapping_of(name, spec) for name, spec in mappings.items()}
    oldest = datetime(2000, 1, 1, tzinfo=UTC)
    return ValidationRules(max_bytes=32_768, max_depth=32, oldest=oldest, max_future_seconds=60, mappings=chosen)


def read(record: Any, spec: dict[str, Any]) -> Event | Rejection:
    value = record if isinstance(record, bytes) else json.dumps(record).encode()
    return verdict_of(value, rules(topic=spec), NOW, None, Source("topic"))


SNOWPLOW = {
    "event": "page_view", "event_name": "page_view", "event_id": "e1", "domain_userid": "d1", "user_id": "u1",
    "page_urlpath": "/a", "page_url": "https://x.example/a?q=1", "derived_tstamp": "2025-10-15 12:00:00.000",
    "domain_sessionid": "s1", "user_ipaddress": "203.0.113.5", "useragent": "Example/1.0", "geo_country": "NL",
}  # fmt: skip
COLUMNS = {name: at for at, name in SHIPPED["snowplow_tsv"]["columns"].items()}
"""Payloads after the tools' public specifications: (mapping, record, action, page, user, event id, session)."""
PAYLOADS: list[tuple[str, dict[str, Any], tuple[str, str, str, str | None, str | None]]] = [
    (
        "segment",
        {
            "type": "track", "event": "Product Added", "userId": "u1", "anonymousId": "a1", "messageId": "e1",
            "timestamp": "2025-10-15T12:00:00.000Z", "properties": {"sku": "7", "price": 19.90},
            "context": {"page": {"path": "/a", "url": "https://x.example/a?q=1"}, "ip": "203.0.113.5"},
        },
        ("add_to_cart", "/a", "u1", "e1", None),
    ),
    (
        "segment",
        {
            "type": "page", "name": "Home", "userId": None, "anonymousId": "a1", "messageId": "e2",
            "timestamp": "2025-10-15T12:00:00.000Z", "properties": {"path": "/", "title": "Home"},
        },
        ("view", "/", "a1", "e2", None),
    ),
    (
        "segment",
        {"type": "identify", "userId": "u1", "messageId": "e3", "timestamp": "2025-10-15T12:00:00Z"},
        ("identify", "/", "u1", "e3", None),
    ),
    (
        "rudderstack",
        {
            "type": "screen", "name": "Cart", "userId": "u1", "messageId": "e1",
            "originalTimestamp": "2025-10-15T14:00:00.000+02:00", "context": {"sessionId": 1760529600},
        },
        ("view", "Cart", "u1", "e1", "1760529600"),
    ),
    ("snowplow_json", SNOWPLOW, ("view", "/a", "u1", "e1", "s1")),
    (
        "posthog",
        {
            "event": "$pageview", "distinct_id": "u1", "uuid": "e1", "timestamp": "2025-10-15T12:00:00.000Z",
            "properties": {"$current_url": "https://x.example/a?q=1#f", "$session_id": "s1", "$ip": "203.0.113.5"},
        },
        ("view", "/a", "u1", "e1", "s1"),
    ),
    (
        "ga4_bigquery",
        {
            "event_date": "20251015", "event_timestamp": "1760529600000000", "event_name": "page_view",
            "user_pseudo_id": "p1", "user_id": None,
            "event_params": [
                {"key": "ga_session_id", "value": {"int_value": "77"}},
                {"key": "page_location", "value": {"string_value": "https://x.example/a?q=1"}},
            ],
        },
        ("view", "/a", "p1", None, "77"),
    ),
    (
        "ga4_measurement",
        {
            "client_id": "c1", "user_id": "u1", "timestamp_micros": "1760529600000000", "name": "page_view",
            "params": {"page_location": "https://x.example/a?q=1", "session_id": "77"},
        },
        ("view", "/a", "u1", None, "77"),
    ),
    (
        "amplitude",
        {
            "user_id": "u1", "device_id": "d1", "event_type": "[Amplitude] Page Viewed", "time": 1760529600000,
            "session_id": -1, "insert_id": "e1", "event_properties": {"[Amplitude] Page Path": "/a", "n": 1},
        },
        ("view", "/a", "u1", "e1", None),
    ),
    (
        "matomo",
        {"_id": "0123456789abcdef", "url": "https://x.example/a", "cdt": "2025-10-15 12:00:00", "pv_id": "p1"},
        ("view", "/a", "0123456789abcdef", None, None),
    ),
    (
        "cloudevents",
        {
            "specversion": "1.0", "type": "x", "source": "/a", "id": "e1", "time": "2025-10-15T12:00:00Z",
            "data": {"user_id": "u1", "action": "view", "page": "/a"},
        },
        ("view", "/a", "u1", "e1", None),
    ),
    (
        "cloudevents",
        {
            "specversion": "1.0", "type": "checkout", "source": "/a", "subject": "u1", "id": "e1",
            "time": "2025-10-15T12:00:00Z",
        },
        ("checkout", "/a", "u1", "e1", None),
    ),
    (
        "opentelemetry",
        {
            "timeUnixNano": "1760529600000000000", "spanId": "e1", "eventName": "browser.page_view",
            "attributes": [
                {"key": "session.id", "value": {"stringValue": "s1"}},
                {"key": "user.id", "value": {"stringValue": "u1"}},
                {"key": "url.path", "value": {"stringValue": "/a"}},
            ],
        },
        ("view", "/a", "u1", "e1", "s1"),
    ),
    (
        "opentelemetry",
        {
            "name": "documentLoad", "startTime": 1760529600000, "span_id": "e1",
            "attributes": {"session.id": "s1", "enduser.id": "u1", "http.url": "https://x.example/a"},
        },
        ("view", "/a", "u1", "e1", "s1"),
    ),
    (
        "ocsf",
        {
            "class_uid": 3002, "activity_id": 1, "activity_name": "Logon", "time": 1760529600000, "status_id": 2,
            "user": {"uid": "u1", "name": "ada"}, "src_endpoint": {"ip": "203.0.113.5"}, "metadata": {"uid": "e1"},
            "service": {"name": "sso"}, "session": {"uid": "s1"},
        },
        ("login", "sso", "u1", "e1", "s1"),
    ),
    (
        "ecs",
        {
            "@timestamp": "2025-10-15T12:00:00.000Z",
            "event": {"action": "user_login", "outcome": "failure", "id": "e1"},
            "user": {"name": "u1"}, "source": {"ip": "203.0.113.5"}, "url": {"path": "/a"},
        },
        ("login", "/a", "u1", "e1", None),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "record", "expected"), PAYLOADS, ids=[name for name, *_ in PAYLOADS])
def test_a_payload_of_each_shipped_schema_is_the_event_that_it_tells_of(
    name: str, record: dict[str, Any], expected: tuple[str, str, str, str | None, str | None]
) -> None:
    found = read(record, SHIPPED[name])
    assert isinstance(found, Event), found
    assert (found.action, found.page, found.user_id, found.event_id, found.session_id) == expected
    assert found.timestamp == NOON


def test_every_shipped_mapping_is_known_and_tried() -> None:
    assert {name for name, *_ in PAYLOADS} | {"snowplow_tsv"} == set(SHIPPED)
    assert [mapping_of(name, spec).name for name, spec in SHIPPED.items()] == list(SHIPPED)


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("segment", {"userId": "u1", "anonymousId": "a1", "event": "Signed In", "timestamp": "2025-10-15T12:00:00Z"}),
        ("rudderstack", {"userId": "u1", "anonymousId": "a1", "event": "x", "sentAt": "2025-10-15T12:00:00Z"}),
        ("snowplow_json", SNOWPLOW | {"domain_userid": "a1"}),
        (
            "posthog",
            {
                "event": "$identify", "distinct_id": "u1", "timestamp": "2025-10-15T12:00:00.000Z",
                "properties": {"$anon_distinct_id": "a1", "$device_id": "d1"},
            },
        ),
        (
            "ga4_bigquery",
            {
                "event_timestamp": "1760529600000000", "event_name": "login", "user_pseudo_id": "a1", "user_id": "u1",
                "event_params": [],
            },
        ),
        (
            "ga4_measurement",
            {"client_id": "a1", "user_id": "u1", "timestamp_micros": "1760529600000000", "name": "login", "params": {}},
        ),
        ("amplitude", {"user_id": "u1", "device_id": "a1", "event_type": "login", "time": 1760529600000}),
        ("matomo", {"uid": "u1", "_id": "a1", "url": "https://x.example/a", "cdt": "2025-10-15 12:00:00"}),
        (
            "cloudevents",
            {
                "specversion": "1.0", "type": "x", "source": "/a", "id": "e1", "time": "2025-10-15T12:00:00Z",
                "data": {"user_id": "u1", "anonymous_id": "a1", "action": "view", "page": "/a"},
            },
        ),
        (
            "opentelemetry",
            {
                "name": "click", "startTimeUnixNano": "1760529600000000000", "spanId": "s",
                "attributes": [
                    {"key": "user.id", "value": {"stringValue": "u1"}},
                    {"key": "session.id", "value": {"stringValue": "a1"}},
                ],
            },
        ),
    ],
)  # fmt: skip
def test_a_login_says_who_it_was_before(name: str, record: dict[str, Any]) -> None:
    found = read(json.dumps(record).encode(), SHIPPED[name])
    assert isinstance(found, Event), found
    assert (found.user_id, (found.properties or {}).get("anonymous_id")) == ("u1", "a1")
    nobody = {key: value for key, value in record.items() if key not in ("userId", "user_id", "uid")}
    if len(nobody) < len(record):
        before = read(json.dumps(nobody).encode(), SHIPPED[name])
        assert isinstance(before, Event), before
        assert before.user_id == "a1"


def test_tab_separated_columns_are_read_by_their_places() -> None:
    values = [""] * 131
    for name, value in SNOWPLOW.items():
        values[COLUMNS[name]] = value
    line = "\t".join(values).encode()
    found = read(line, SHIPPED["snowplow_tsv"])
    assert isinstance(found, Event), found
    assert found._replace(properties=None) == Event("u1", "view", "/a", NOON, "e1", "s1", None, None)
    assert found.properties == {
        "ip": "203.0.113.5", "user_agent": "Example/1.0", "country": "NL", "anonymous_id": "d1",
    }  # fmt: skip
    longer = read(line + b"\tmore", SHIPPED["snowplow_tsv"])
    assert isinstance(longer, Rejection)
    assert longer.reason == "not_json"


def test_what_a_mapping_does_not_use_is_kept_as_written_and_context_is_told() -> None:
    found = read(
        b'{"type":"track","event":"Seen","userId":"u1","timestamp":"2025-10-15T12:00:00Z","integrations":{"All":true},'
        b'"properties":{"price":19.90,"list":[1, 2]},"context":{"ip":"203.0.113.5","page":{"path":"/a"}},"n":1e3}',
        SHIPPED["segment"],
    )
    assert isinstance(found, Event)
    kept = {"ip": "203.0.113.5", "integrations": '{"All":true}', "n": "1e3", "price": "19.90", "list": "[1, 2]"}
    assert found.properties == kept


def test_a_cloud_event_in_binary_mode_is_read_with_its_headers_and_keeps_its_bytes() -> None:
    values: list[bytes | None] = [
        b'{"user_id": "u1", "page": "/a"}', b'{"user_id": "u2"}', b"no json", contract_event(7), b"[1]", None,
        contract_event(8)[:-1] + b', "n": 1e3}', b'[{"user_id": "u3"}, {"user_id": "u4"}]',
    ]  # fmt: skip
    records = null_where_empty(some_records(values))
    attributes = {
        "ce_specversion": b"1.0", "ce_type": b"view", "ce_source": b"/s", "ce_id": b"e1",
        "ce_time": b"2025-10-15T12:00:00Z", "content-type": b"application/json",
    }  # fmt: skip
    headers = [{"key": name, "value": text} for name, text in attributes.items()]
    some = pa.array([headers, headers[1:], *[headers] * 6], records["headers"].type)
    records = records.set_column(records.schema.get_field_index("headers"), "headers", some)
    found = validated(records, rules(t=SHIPPED["cloudevents"])).sort_by("offset").to_pylist()
    assert [row["reason"] for row in found] == [
        None, "missing_field", "not_json", None, "not_an_object", "tombstone", None, None, None,
    ]  # fmt: skip
    first = found[0]
    assert (first["user_id"], first["action"], first["page"], first["event_id"]) == ("u1", "view", "/a", "e1")
    assert [row["raw"] for row in found[:7]] == values[:7]
    named = [row["user_id"] for row in found[3:]]
    assert named == ["user 7", None, None, "user 8", "u3", "u4"], "what is an event, or several, is no attribute's"
    assert "specversion" not in dict(found[6]["properties"])
    wrong = pa.array([b'{"userId": "u1", "event": "Seen", "timestamp": "soon"}'])
    one = records.slice(0, 1).set_column(records.schema.get_field_index("value"), "value", wrong)
    (refused,) = validated(one, rules(t=SHIPPED["segment"])).to_pylist()
    assert (refused["reason"], refused["field"]) == ("bad_timestamp", "timestamp"), (
        "what is wrong with the value itself"
    )
    unmapped = validated(records, rules()).sort_by("offset").to_pylist()
    assert [row["reason"] for row in unmapped[:2]] == ["missing_field", "missing_field"]


def test_a_record_may_name_its_mapping_in_a_header() -> None:
    segment = {"userId": "u1", "event": "Seen", "timestamp": "2025-10-15T12:00:00Z", "name": "/a"}
    values: list[bytes | None] = [json.dumps(segment).encode()] * 4
    records = null_where_empty(some_records(values))
    names = [b"segment", b"other", None, b"own"]
    headers = [[{"key": MAPPING_HEADER, "value": name}] for name in names]
    some = pa.array(headers, records["headers"].type)
    records = records.set_column(records.schema.get_field_index("headers"), "headers", some)
    own = {**SHIPPED["segment"], "action": "=own"}
    found = validated(records, rules(t=SHIPPED["ecs"], segment=SHIPPED["segment"], own=own)).sort_by("offset")
    assert found["reason"].to_pylist() == [None, "missing_field", "missing_field", None]
    assert found["action"].to_pylist() == ["Seen", None, None, "own"]
    assert "mapping t finds none of user.id" in found["detail"].to_pylist()[1], "a name that is none: the topic's"


def test_an_event_of_the_contract_is_one_wherever_it_comes_from() -> None:
    event = {"user_id": "7", "action": "view", "page": "/", "timestamp": "2025-10-15T12:00:00Z", "userId": "other"}
    found = read(event, SHIPPED["segment"])
    assert isinstance(found, Event)
    assert (found.user_id, found.properties) == ("7", {"userId": "other"})


def test_only_records_of_the_named_source_are_mapped() -> None:
    name, record, _ = PAYLOADS[0]
    value = json.dumps(record).encode()
    for source in ("other", None):
        verdict = verdict_of(value, rules(topic=SHIPPED[name]), NOW, None, Source(source))
        assert isinstance(verdict, Rejection)
        assert verdict.reason == "missing_field"


@pytest.mark.parametrize(
    ("record", "reason", "detail"),
    [
        ({"event": "Seen"}, "missing_field", "mapping topic finds none of userId, context.traits.userId, anonymousId"),
        ({"userId": "u1", "event": "Seen"}, "missing_field", "finds none of timestamp, originalTimestamp, sentAt"),
        ({"userId": "u1", "event": "Seen", "timestamp": "soon"}, "bad_timestamp", 'found "soon"'),
        ({"userId": "u1", "event": "Seen", "timestamp": "2025-10-15 12:00:00"}, "naive_timestamp", "offset is missing"),
        ({"userId": " ", "event": "Seen", "timestamp": "2025-10-15T12:00:00Z"}, "empty_user_id", "blank"),
        ({"userId": "u1", "event": "Seen", "timestamp": 32503680000}, "timestamp_out_of_range", "3000-01-01"),
    ],
)
def test_what_a_mapping_cannot_find_is_rejected_with_where_it_looked(
    record: dict[str, Any], reason: str, detail: str
) -> None:
    found = read(record, SHIPPED["segment"])
    assert isinstance(found, Rejection)
    assert found.reason == reason
    assert detail in str(found.detail)


@pytest.mark.parametrize(
    ("time", "unit"),
    [
        (1760529600, "auto"), (1760529600.0, "auto"), (1760529600000, "auto"), ("1760529600000000", "auto"),
        (1760529600000000000, "auto"), (1760529600000, "milliseconds"), ("2025-10-15T14:00:00+02:00", "seconds"),
    ],
)  # fmt: skip
def test_numbers_are_times_in_the_unit_of_their_size_or_the_one_that_is_said(time: object, unit: str) -> None:
    spec = {"user_id": "u", "action": "=view", "page": "=/", "timestamp": "t", "unit": unit}
    found = read({"u": 5, "t": time}, spec)
    assert isinstance(found, Event), found
    assert (found.user_id, found.timestamp) == ("5", NOON)


def test_paths_go_through_objects_lists_and_names_with_dots() -> None:
    spec = {"user_id": 'a."b.c"[1].d', "action": "x[k=v].y", "page": "e.f.g", "timestamp": "t"}
    record = {"a": {"b.c": [{}, {"d": "u1"}]}, "x": [{"k": "w"}, {"k": "v", "y": "do"}], "e": {"f.g": "/a"}, "t": NOON}
    found = read(record, spec)
    assert isinstance(found, Event), found
    assert found[:3] == ("u1", "do", "/a")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"user_id": "a"}, "does not say where action, page, timestamp is found"),
        ({"user_id": "a", "usr": "b"}, "has usr; there are user_id, action"),
        ({"user_id": "a..b", "action": "=x", "page": "=/", "timestamp": "t"}, "source 'a..b', which is no path"),
        ({"user_id": 5}, "has user_id: 5; needed a text or a list of texts"),
        ({"user_id": "a", "unit": "days"}, "has the unit days; needed auto, seconds"),
    ],
)
def test_a_mapping_that_makes_no_sense_is_refused_in_a_sentence(spec: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        mapping_of("topic", spec)


def test_settings_name_a_shipped_mapping_or_have_their_own() -> None:
    own = '{"user_id": "u", "action": "a", "page": "p", "timestamp": "t"}'
    chosen = load_settings("local", ["ingest.mappings.web=segment", f"ingest.mappings.app={own}"]).ingest
    assert {source: one.name for source, one in validation_rules(chosen).mappings.items()} == {
        "web": "segment",
        "app": "app",
    }
    with pytest.raises(ConfigurationError, match=r"ingest.mappings.web is 'none'; there are segment, rudderstack"):
        validation_rules(load_settings("local", ["ingest.mappings.web=none"]).ingest)
