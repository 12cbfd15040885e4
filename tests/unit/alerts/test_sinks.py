"""Sinks: which ones the settings switch on, and what a delivery does with one, without Spark or Kafka."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from alerts.book import Alert
from alerts.delivery import Delivery
from alerts.sinks.base import AlertSink, Row
from alerts.sinks.kafka import KafkaSink
from alerts.sinks.registry import sinks_of
from alerts.sinks.webhook import WebhookSink
from features.errors import ConfigurationError, EnvironmentProblem
from features.tables import ALERTS
from lake import arrow_tables
from settings import Settings, load_settings

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOOK = "alerts.webhook=https://host/path"


@pytest.fixture
def settings() -> Settings:
    return load_settings("local")


class Memory(AlertSink):
    """Keeps what it gets, in the calls in which it came; ``refusals`` are raised first, one a call."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.calls: list[list[str]] = []
        self.refusals: list[Exception] = []

    def send(self, rows: Sequence[Row]) -> int:
        if self.refusals:
            raise self.refusals.pop(0)
        self.calls.append([row["alert_id"] for row in rows])
        return 0


class Patient(Memory):
    from_start = True
    max_rows = 1


def raised(name: str) -> Alert:
    return Alert(name, 1, "ada", NOON, NOON, NOON, NOON, NOON, 1, 0.7, 99.0, None, "1", "open", None, NOON)


def write(root: Path, second: float, *names: str) -> datetime:
    """A commit of alerts; its time."""
    time = NOON + timedelta(seconds=second)
    arrow_tables.append(str(root), ALERTS, [raised(name).row(time, f"batch:{second}") for name in names])
    return time


def finish(delivery: Delivery, until: datetime) -> None:
    """Deliver all that was written up to then."""
    delivery.start()
    try:
        delivery.drain(until, 60)
    finally:
        delivery.stop()


# --- which ---


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([], {"kafka": KafkaSink}),
        (["alerts.kafka=false"], {}),
        ([HOOK], {"kafka": KafkaSink, "webhook": WebhookSink}),
        ([HOOK, "alerts.kafka=false"], {"webhook": WebhookSink}),
        ([HOOK, "alerts.sinks=[]"], {}),
        ([HOOK, "alerts.sinks=[webhook]"], {"webhook": WebhookSink}),
        ([f"alerts.sinks=[kafka, '{__name__}:Memory']"], {"kafka": KafkaSink, f"{__name__}.Memory": Memory}),
    ],
)
def test_the_list_says_which_and_without_one_the_two_switches(changes: list[str], expected: dict[str, type]) -> None:
    assert {name: type(sink) for name, sink in sinks_of(load_settings("local", changes)).items()} == expected


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("pager", "found 'pager', which is none of these; needed: kafka, webhook, "),
        (
            "no_such:Sink",
            r"found 'no_such:Sink', which cannot be imported \(No module named 'no_such'\); needed: kafka",
        ),
        ("json:Sink", "found 'json:Sink', which is no such class; needed: "),
        ("json:JSONDecoder", "found 'json:JSONDecoder', which is no such class; needed: "),
    ],
)
def test_what_is_no_sink_is_refused_with_what_is_needed(name: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=f"Setting alerts.sinks: {sentence}"):
        sinks_of(load_settings("local", [f"alerts.sinks=['{name}']"]))


def test_a_webhook_without_an_address_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"Setting alerts\.sinks: found webhook, and no alerts\.webhook"):
        sinks_of(load_settings("local", ["alerts.sinks=[webhook]"]))


# --- deliveries ---


def test_a_new_sink_gets_what_comes_and_one_from_the_start_all_there_is(tmp_path: Path, settings: Settings) -> None:
    write(tmp_path, 0, "old")
    memory, patient = Memory(settings), Patient(settings)
    deliveries = [Delivery(type(sink).__name__, sink, str(tmp_path), str(tmp_path)) for sink in (memory, patient)]
    until = write(tmp_path, 1, "new")
    for delivery in deliveries:
        finish(delivery, until)
    assert (memory.calls, patient.calls) == ([["new"]], [["old"], ["new"]])


def test_a_commit_is_not_parted_and_the_next_start_goes_on_behind_it(tmp_path: Path, settings: Settings) -> None:
    patient = Patient(settings)
    finish(Delivery("mine", patient, str(tmp_path), str(tmp_path)), write(tmp_path, 0, "a", "b"))
    finish(Delivery("mine", patient, str(tmp_path), str(tmp_path)), write(tmp_path, 1, "c"))
    assert patient.calls == [["a", "b"], ["c"]]


@pytest.mark.parametrize("error", [EnvironmentProblem("The receiver is away."), ValueError("a bug in the sink")])
def test_whatever_a_sink_raises_its_rows_come_again(tmp_path: Path, settings: Settings, error: Exception) -> None:
    patient = Patient(settings)
    patient.refusals = [error]
    delivery = Delivery("mine", patient, str(tmp_path), str(tmp_path))
    finish(delivery, write(tmp_path, 0, "a"))
    assert (patient.calls, delivery.delivered, delivery.given_up) == ([["a"]], 1, 0)
