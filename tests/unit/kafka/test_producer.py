from __future__ import annotations

import json
import re
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from features.errors import EnvironmentProblem, UsageError
from features.events import DEFAULT_RULES
from kafka.pacer import Pacer
from kafka.producer import EventProducer, checked
from settings import load_settings
from streams.rules import validation_rules
from tests.paths import INPUTS

EVENT = {"user_id": "7", "action": "click", "page": "/", "timestamp": "2024-10-05T12:00:00Z"}
NOWHERE = "127.0.0.1:1"


def test_a_complete_event_stays_as_it_is() -> None:
    complete = {**EVENT, "event_id": "a", "sent_at": "2024-10-05T12:00:01+02:00", "properties": {"b": "c"}}
    assert checked(complete) == complete


def test_a_missing_event_id_is_added_and_is_another_each_time() -> None:
    first, second = checked(EVENT), checked(EVENT)
    assert first["event_id"] != second["event_id"]
    assert "event_id" not in EVENT


def test_a_datetime_is_written_in_utc() -> None:
    when = datetime(2024, 10, 5, 14, tzinfo=timezone(timedelta(hours=2)))
    assert checked({**EVENT, "timestamp": when})["timestamp"] == "2024-10-05T12:00:00Z"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"user_id": None}, "lacks user_id"),
        ({"user_id": None, "page": None}, "lacks user_id and page"),
        ({"user_id": 7}, "user_id must be text that is not empty; found 7"),
        ({"action": ""}, "action must be text that is not empty"),
        ({"timestamp": "yesterday"}, "timestamp must be a time such as"),
        ({"timestamp": 1728129600}, "timestamp must be a time such as"),
        ({"timestamp": "2024-10-05T12:00:00"}, "timestamp needs an offset"),
        ({"timestamp": datetime(2024, 10, 5)}, "timestamp needs an offset"),  # noqa: DTZ001
        ({"sent_at": "soon"}, "sent_at must be a time such as"),
    ],
)
def test_what_breaks_the_contract_is_refused_in_a_sentence(change: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        checked({**EVENT, **change})


@pytest.mark.parametrize("properties", [{"a": float("nan")}, {"a": object()}, {"a": "\ud800"}])
def test_what_is_no_json_is_refused_in_a_sentence(properties: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="cannot be written as JSON"):
        EventProducer(NOWHERE, "t").send({**EVENT, "properties": properties})


REFUSED: list[tuple[dict[str, object], str]] = [
    ({"timestamp": "2025-W42-3T12:00:00Z"}, "bad_timestamp (timestamp: found"),
    ({"timestamp": "20251015T120000Z"}, "bad_timestamp"),
    ({"timestamp": "2025-10-15T12:00:00,123Z"}, "bad_timestamp"),
    ({"timestamp": "1999-10-15T12:00:00Z"}, "timestamp_out_of_range"),
    ({"timestamp": "2999-10-15T12:00:00Z"}, "timestamp_out_of_range"),
    ({"user_id": "  "}, "empty_user_id"),
    ({"page": " "}, "empty_field"),
    ({"properties": [1]}, "wrong_type (properties"),
    ({"event_id": 5}, "wrong_type (event_id"),
    ({"x": "y" * 40_000}, "too_large"),
    ({"x": "\0"}, "control_character"),
]


@pytest.mark.parametrize(("change", "said"), REFUSED)
def test_what_ingest_would_reject_is_not_sent(change: dict[str, object], said: str) -> None:
    producer = EventProducer(NOWHERE, "t")
    with pytest.raises(UsageError, match=re.escape(f"Ingest would reject this event as {said}")):
        producer.send({**EVENT, **change})
    assert producer.sent == 0


@pytest.mark.skipif(not (INPUTS / "producer_takes_ingest_rejects.json").exists(), reason=f"no inputs in {INPUTS}")
def test_each_recorded_event_that_ingest_rejects_is_refused() -> None:
    events = json.loads((INPUTS / "producer_takes_ingest_rejects.json").read_text(encoding="utf-8"))
    for event in events:
        with pytest.raises(UsageError):
            EventProducer(NOWHERE, "t").send(event)


def test_the_limits_without_settings_are_those_of_the_base_settings() -> None:
    assert validation_rules(load_settings("local").ingest) == DEFAULT_RULES


def test_an_unknown_client_setting_is_refused_in_a_sentence() -> None:
    with pytest.raises(UsageError, match=r"refuses its settings: .*no\.such\.setting"):
        EventProducer(NOWHERE, "t", options={"no.such.setting": "1"})


def test_idempotence_cannot_be_switched_off() -> None:
    EventProducer(NOWHERE, "t", options={"enable.idempotence": "false", "acks": "0"})
    with pytest.raises(UsageError, match=r"max\.in\.flight"):
        EventProducer(NOWHERE, "t", options={"enable.idempotence": "false", "max.in.flight": "50"})


def test_no_broker_is_said_in_a_sentence(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(EnvironmentProblem, match=r"No Kafka broker answers at 127\.0\.0\.1:1"):
        EventProducer(NOWHERE, "t", timeout=0.5).check()
    assert capfd.readouterr().err == ""


def test_sending_does_not_wait_forever_for_a_broker_that_is_away() -> None:
    producer = EventProducer(NOWHERE, "t", timeout=0.3, queue_events=5)
    for _ in range(5):
        producer.send(EVENT)
    with pytest.raises(EnvironmentProblem, match=r"took no event for 0\.3 s and 5 are waiting"):
        producer.send(EVENT)


def test_flushing_says_what_was_not_acknowledged() -> None:
    producer = EventProducer(NOWHERE, "t", timeout=0.3)
    producer.send(EVENT)
    with pytest.raises(EnvironmentProblem, match="1 events are not acknowledged"):
        producer.flush(0.2)


def test_leaving_with_an_error_keeps_the_error() -> None:
    def send_and_fail() -> None:
        with EventProducer(NOWHERE, "t", timeout=0.3) as producer:
            producer.send(EVENT)
            raise KeyError

    with pytest.raises(KeyError):
        send_and_fail()


def test_an_event_too_large_for_kafka_is_refused_in_a_sentence() -> None:
    rules = replace(DEFAULT_RULES, max_bytes=3_000_000)
    with pytest.raises(UsageError, match="is too large: Kafka takes 1000000"):
        EventProducer(NOWHERE, "t", rules=rules).send({**EVENT, "properties": {"a": 2_000_000 * "x"}})


def test_text_is_sent_as_utf8_json() -> None:
    kept: list[tuple[bytes, bytes | None]] = []

    class Memory(EventProducer):
        def send_raw(self, value: bytes, key: bytes | None, *, headers: object = None) -> None:
            kept.append((value, key))

    event_id = Memory(NOWHERE, "t").send({**EVENT, "user_id": "زن"})
    ((value, key),) = kept
    assert key == "زن".encode()
    assert "زن".encode() in value
    assert json.loads(value) == {**EVENT, "user_id": "زن", "event_id": event_id}


class Clock:
    """Time that passes only while somebody waits, and by ``work`` with every look at it."""

    def __init__(self, work: float = 0.0) -> None:
        self.now = 100.0
        self.work = work

    def __call__(self) -> float:
        self.now += self.work
        return self.now


class Waiting(threading.Event):
    """A stop signal whose waiting moves the clock, a little too far as sleeping does."""

    def __init__(self, clock: Clock, late: float = 0.0) -> None:
        super().__init__()
        self.clock = clock
        self.late = late

    def wait(self, timeout: float | None = None) -> bool:
        self.clock.now += (timeout or 0.0) + self.late
        return self.is_set()


def test_a_pace_is_kept_without_drift_though_every_wait_is_late() -> None:
    clock = Clock()
    pacer = Pacer(100, Waiting(clock, late=0.003), clock)
    for _ in range(1001):
        pacer.take()
    assert clock.now == pytest.approx(110.0, abs=0.004)


def test_overdue_calls_pass_at_once() -> None:
    clock = Clock()
    pacer = Pacer(10, Waiting(clock), clock)
    pacer.take()
    clock.now += 5.0
    for _ in range(50):
        pacer.take()
    assert clock.now == 105.0


def test_without_a_rate_nothing_waits() -> None:
    clock = Clock()
    pacer = Pacer(None, Waiting(clock), clock)
    assert all(pacer.take() for _ in range(100))
    assert clock.now == 100.0


def test_a_stop_is_heard_while_waiting() -> None:
    stop = threading.Event()
    pacer = Pacer(0.001, stop)
    assert pacer.take()
    threading.Timer(0.05, stop.set).start()
    assert not pacer.take()


def test_utc_is_what_an_app_gets_when_it_says_utc() -> None:
    assert str(checked({**EVENT, "timestamp": datetime.now(UTC)})["timestamp"]).endswith("Z")
