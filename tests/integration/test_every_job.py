"""Every job of the README on the tables of one run, in the order of the guides, in others, and beside the streams."""

from __future__ import annotations

import importlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pyspark.sql import functions as F

from alerts import feedback
from alerts.stream import AlertStream
from features.tables import ALERTS, EVENTS, FEEDBACK, REJECTED_EVENTS, RISK, SCORES
from jobs import promote_model, train_model
from kafka.producer import EventProducer
from lake import arrow_tables
from local.broker import EmbeddedBroker
from settings import cli, local_overrides
from simulation import Scenario, simulate
from streams.flow import TOGETHER
from tests.integration.conftest import Platform
from tests.integration.job_calls import CALLS, Call, Called, bad_lines, jobs_of_the_readme, strangers, words_of
from tests.integration.test_pipeline import send
from tests.integration.upkeep import KEY

pytestmark = pytest.mark.integration

REWRITE_ALL = ("maintenance.fold_after_minutes=0", "maintenance.keep_revisions_hours=0")
SMALL_MODEL = ("model.trees=50", "model.min_training_rows=20", "model.trial_users=100")
WHOLE = (
    Call("change_flow", ("--to", "three-queries")),
    Call("ingest_events", ("--once",)),
    Call("build_features", ("--once",)),
    Call("score_features", ("--once",)),
    Call("check_ledger", says="difference 0 of"),
    Call("check_parity", ("--all",), says=" 0 differences"),
)
"""What comes in the end: all is read, and the tables are whole."""


def test_every_job_of_the_readme_has_a_way_to_be_run_here() -> None:
    assert strangers(jobs_of_the_readme()) == []
    assert strangers(["brew_coffee"]) != []


# --- in this process, on the tables of a small run ---


@pytest.fixture
def run(
    platform: Platform, broker: EmbeddedBroker, producer: EventProducer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Platform:
    """Two hours of people, and records that are no events."""
    monkeypatch.setenv("BEHAVIOR_PSEUDONYM_KEY", KEY)
    people = simulate(Scenario(datetime.now(UTC) - timedelta(hours=2), 2.0, timedelta(hours=2), seed=5))
    send(producer, *[dict(event) for _, event in zip(range(1500), people, strict=False)])
    bad_lines(tmp_path)
    broker.create_topic(platform.settings.kafka.alerts_topic, 1)
    platform.ingest()
    return platform


@pytest.mark.timeout(900)
def test_every_job_does_its_work_once_on_a_small_runs_tables(
    run: Platform, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first = [call for number, call in enumerate(CALLS) if call.job not in {earlier.job for earlier in CALLS[:number]}]
    user = call_each([*first, *WHOLE], run, tmp_path, capfd)
    assert run.read(SCORES).count() > 0
    assert run.read(EVENTS).where(F.col("user_id") == user).isEmpty()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_job_does_its_work_on_a_small_runs_tables_in_the_order_of_the_guides(
    run: Platform, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run.build()
    for _ in range(2):
        version = train_model.train(run.spark, run.lake, run.settings, train_model.TrainingOptions(trial=False))
        promote_model.promote(run.settings, version, force=True, why="test")
    run.score()
    alerts = AlertStream(run.settings)
    alerts.poll()
    alerts.stop()
    raised = arrow_tables.read(run.settings.storage.root, ALERTS).to_pylist()
    assert raised
    assert run.read(RISK).count() > 0
    feedback.record(run.settings.storage.root, raised[0], is_true=True)
    user = call_each([*CALLS, *WHOLE], run, tmp_path, capfd)
    assert run.read(EVENTS).where(F.col("user_id") == user).isEmpty()


def call_each(calls: Sequence[Call], run: Platform, folder: Path, capfd: pytest.CaptureFixture[str]) -> str:
    """Call the jobs, whose complaints fail the test; returns the user whom they erase."""
    user = run.read(EVENTS).select("user_id").first()
    assert user is not None
    settings = [*local_overrides(folder), *kafka_of(run), *REWRITE_ALL, *SMALL_MODEL]
    capfd.readouterr()

    def called(call: Call) -> Called:
        module, began = importlib.import_module(f"jobs.{call.job}"), time.monotonic()
        with pytest.raises(SystemExit) as left:
            cli.run(module.main, words_of(call, folder, user[0], settings))
        out, err = capfd.readouterr()
        with capfd.disabled():
            print(f"{call.job} {' '.join(call.words)}: {time.monotonic() - began:.1f} s")
        return Called(call, int(left.value.code or 0), out + err)

    handlers = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        found = [line for call in calls for line in called(call).complaints(call.code)]
    finally:
        for number, handler in handlers:
            signal.signal(number, handler)
    assert not found, "\n\n".join(found)
    return str(user[0])


def kafka_of(platform: Platform) -> list[str]:
    kafka = platform.settings.kafka
    return [f"kafka.bootstrap_servers={kafka.bootstrap_servers}", f"kafka.topic={kafka.topic}"]


# --- each a process, on the tables of a real run ---


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_every_job_does_its_work_on_a_real_runs_tables_in_any_order_and_beside_the_streams(tmp_path: Path) -> None:
    bad_lines(tmp_path)
    own = local_overrides(tmp_path)
    live = ["--rate", "10", "--local", str(tmp_path)]
    made = job(Call("run_pipeline", ("--duration", "60", *live)), tmp_path, "", [])
    assert made.complaints(0) == []
    with EmbeddedBroker(tmp_path / "kafka", tmp_path / "logs") as broker:
        root, settings = str(tmp_path / "lake"), [*own, *REWRITE_ALL]
        settings += [f"kafka.bootstrap_servers={broker.bootstrap_servers}", "model.trial_users=200"]
        raised = arrow_tables.read(root, ALERTS).to_pylist()
        assert raised, made.text
        feedback.record(root, raised[0], is_true=True)
        everybody = sorted(set(arrow_tables.read(root, EVENTS, columns=["user_id"])["user_id"].to_pylist()))

        found = complaints([*CALLS, *WHOLE], tmp_path, everybody[0], settings, beside=False)
        assert not found, "\n\n".join(found)
        assert all(arrow_tables.read(root, table).num_rows for table in (RISK, REJECTED_EVENTS, FEEDBACK, SCORES))

        with running(tmp_path, [*live, "--set", "kafka.embedded=false", "--set", settings[-2]]) as run:
            shuffled = random.Random(22).sample(CALLS, len(CALLS))
            found = complaints(shuffled, tmp_path, everybody[5], settings, beside=True)
            assert run.poll() is None, "the run has ended"
        # It may have been stopped between two commits of a batch: that is finished first, as change_flow would say.
        found += complaints([Call("ingest_events", ("--once",)), *WHOLE], tmp_path, "", settings, beside=False)
        assert not found, "\n\n".join(found)


def complaints(calls: Sequence[Call], folder: Path, user: str, settings: list[str], *, beside: bool) -> list[str]:
    """What is wrong with each call, one after the other."""
    return [
        line
        for call in calls
        for line in job(call, folder, user, settings).complaints(call.code_beside if beside else call.code)
    ]


def job(call: Call, folder: Path, user: str, settings: list[str]) -> Called:
    command = [sys.executable, "-m", f"jobs.{call.job}", *words_of(call, folder, user, settings)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "BEHAVIOR_PSEUDONYM_KEY": KEY}
    )
    return Called(call, done.returncode, done.stdout + done.stderr)


@contextmanager
def running(folder: Path, words: list[str]) -> Iterator[subprocess.Popen[str]]:
    """The streams of a run, from when the first of their batches is finished until the end of the block.

    Before it has the tables it lets the three queries come to rest, whose batches do not count.
    """
    began, checkpoints = time.time(), folder / "checkpoints"
    marks, note = checkpoints / "ingest_events" / "commits", checkpoints / TOGETHER.query / f"{TOGETHER.note}.json"
    command = [sys.executable, "-m", "jobs.run_pipeline", "--env", "local", *words]
    with (
        (folder / "beside.out").open("w") as out,
        subprocess.Popen(
            command, stdout=out, stderr=out, text=True, env={**os.environ, "BEHAVIOR_PSEUDONYM_KEY": KEY}
        ) as run,
    ):
        try:
            sent = [sys.executable, "-m", "jobs.simulate_events", *words_of(SENT, folder, "", words[-1:])]
            with subprocess.Popen(sent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as people:
                try:
                    while not (note.exists() and _is_newer(marks, max(began, note.stat().st_mtime))):
                        assert run.poll() is None, (folder / "beside.out").read_text()
                        time.sleep(1)
                    yield run
                finally:
                    people.terminate()
        finally:
            run.send_signal(signal.SIGINT)
            run.wait(300)
    assert "Traceback" not in (folder / "beside.out").read_text()


def _is_newer(marks: Path, time: float) -> bool:
    return any(mark.stat().st_mtime > time for mark in marks.iterdir() if mark.name.isdigit())


SENT = Call("simulate_events", ("--rate", "10", "--labels", "{folder}/beside.csv"))
