"""What sends the events of `make run`, and when nobody does."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from features.errors import EnvironmentProblem
from jobs.run_pipeline import Wish, start_source
from jobs.runtime.event_source import EventSource
from jobs.runtime.settings import load_settings


def test_nobody_is_simulated_into_a_kafka_of_somebodys_own(tmp_path: Path) -> None:
    wish = Wish(duration=10, input=None, rate=None, shift_to_now=False, seed=1, local=tmp_path)
    own = load_settings("local", ["kafka.embedded=false", "kafka.bootstrap_servers=127.0.0.1:1"])
    source = start_source(wish, own)
    assert (source.sends, source.ended) == (False, False)
    source.stop()


def test_a_source_that_fails_says_why(tmp_path: Path) -> None:
    nowhere = ["--env", "local", "--bootstrap-servers", "127.0.0.1:1", "--topic", "events"]
    source = EventSource(["jobs.simulate_events", *nowhere], tmp_path / "source.log")
    with pytest.raises(EnvironmentProblem, match=r"No Kafka broker answers at 127\.0\.0\.1:1\."):
        until_ended(source)
    source.stop()


def until_ended(source: EventSource) -> None:
    while not source.ended:
        time.sleep(0.05)
