"""What sends the events of `make run`, and when nobody does."""

from __future__ import annotations

import importlib
import time
from dataclasses import replace
from pathlib import Path

import pytest

from features.errors import EnvironmentProblem
from local import inputs
from local.event_source import EventSource
from local.inputs import start_source
from local.run_options import RunOptions
from replay.formats.registry import NAMES
from settings import cli, load_settings


def test_nobody_is_simulated_into_a_kafka_of_somebodys_own(tmp_path: Path) -> None:
    options = RunOptions(duration=10, inputs=(), rate=None, shift_to_now=False, seed=1, local=tmp_path)
    own = load_settings("local", ["kafka.embedded=false", "kafka.bootstrap_servers=127.0.0.1:1"])
    source = start_source(options, own)
    assert (source.sends, source.ended) == (False, False)
    source.stop()


def test_the_format_of_a_file_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(inputs, "EventSource", lambda command, *_: started.append(command))
    options = RunOptions(duration=10, inputs=(tmp_path / "log",), rate=None, shift_to_now=False, seed=1, local=tmp_path)
    for one in (options, replace(options, format_name="access_log")):
        start_source(one, load_settings("local"))
    assert [command[command.index("--format") + 1] for command in started] == ["auto", "access_log"]


@pytest.mark.parametrize("job", ["jobs.run_pipeline", "jobs.replay_file"])
def test_an_unknown_format_is_refused_in_a_sentence_by_exit_code_2(
    job: str, capsys: pytest.CaptureFixture[str]
) -> None:
    module = importlib.import_module(job)
    with pytest.raises(SystemExit) as left:
        cli.run(module.main, ["--format", "csv", *(["file"] if job == "jobs.replay_file" else [])])
    assert left.value.code == 2
    assert f"There is no format 'csv'; needed: one of {', '.join(NAMES)}" in capsys.readouterr().err


def test_a_source_that_fails_says_why(tmp_path: Path) -> None:
    nowhere = ["--env", "local", "--bootstrap-servers", "127.0.0.1:1", "--topic", "events"]
    source = EventSource(["jobs.simulate_events", *nowhere], tmp_path / "source.log")
    with pytest.raises(EnvironmentProblem, match=r"No Kafka broker answers at 127\.0\.0\.1:1\."):
        until_ended(source)
    source.stop()


def until_ended(source: EventSource) -> None:
    while not source.ended:
        time.sleep(0.05)
