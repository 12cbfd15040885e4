"""Alerts on real tables and a real broker: raised once, revised, closed, sent on; whatever dies in between."""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer
from pydantic import SecretStr
from pyspark.sql import functions as F

from alerts import feedback, follower
from alerts.follower import ScoreFollower
from alerts.stream import AlertStream, raise_once
from features.errors import BehaviorError, EnvironmentProblem
from features.revisions import latest, latest_in_arrow
from features.tables import ALERTS, RISK, SCORES
from jobs import promote_model, train_model
from kafka.producer import EventProducer
from lake import arrow_tables
from local.broker import EmbeddedBroker
from settings import Settings, load_settings
from tests.integration.conftest import Platform
from tests.integration.test_pipeline import people, send

pytestmark = pytest.mark.integration

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(minute: float) -> datetime:
    return NOON + timedelta(minutes=minute)


@dataclass
class Scored:
    """A lake of one test whose scores are appended as score_features does."""

    settings: Settings
    batches: int = field(default=0)
    clock: timedelta = timedelta()
    """How far the clock by which scores are written is off."""

    @property
    def root(self) -> str:
        return self.settings.storage.root

    def arrive(self, *rows: dict[str, Any]) -> None:
        """One micro-batch of scores."""
        self.batches += 1
        written = {
            "batch_time": NOON + self.clock + timedelta(milliseconds=self.batches),
            "batch_id": f"q:{self.batches}",
        }
        arrow_tables.append(self.root, SCORES, [{**row, **written} for row in rows])

    def alerts(self) -> list[dict[str, Any]]:
        found = latest_in_arrow(arrow_tables.read(self.root, ALERTS), ALERTS).to_pylist()
        return sorted(found, key=lambda row: (row["user_id"], row["session_start"]))

    def short(self) -> list[tuple[str, int, str, int, float]]:
        return [
            (r["user_id"], r["revision"], r["state"], r["flagged_minutes"], r["anomaly_score"]) for r in self.alerts()
        ]

    def risk(self) -> dict[tuple[str, datetime], tuple[int, float]]:
        rows = latest_in_arrow(arrow_tables.read(self.root, RISK), RISK).to_pylist()
        return {(row["user_id"], row["day"]): (row["alerts"], row["risk"]) for row in rows}


def row(minute: float, score: float | None, user: str = "ada", session: float = 0) -> dict[str, Any]:
    """A row of scores without the batch's columns; flagged from 0.5 on."""
    flagged = score is not None and score >= 0.5
    given = {
        "user_id": user, "window_start": at(minute), "session_start": at(session), "session_is_split": False,
        "feature_version": "1", "anomaly_score": score, "anomaly_percentile": 99.0, "model_name": "m",
        "verdict": "anomaly" if flagged else "normal", "model_version": "1", "threshold": 0.5, "scored_at": NOON,
        "reasons": [{"feature": "f", "value": 1.0, "expected": 0.0, "direction": "high", "contribution": 0.1,
                     "text": f"minute {minute:g}"}] if flagged else None,
    }  # fmt: skip
    return dict.fromkeys(SCORES.columns) | given


@pytest.fixture
def scored(tmp_path: Path) -> Scored:
    changes = [
        f"storage.root={tmp_path}/lake",
        f"storage.checkpoints={tmp_path}/checkpoints",
        "alerts.kafka=false",
    ]
    return Scored(load_settings("local", changes))


def with_alerts(settings: Settings, **changes: Any) -> Settings:
    if "webhook" in changes:
        changes["webhook"] = SecretStr(changes["webhook"])
    return settings.model_copy(update={"alerts": settings.alerts.model_copy(update=changes)})


# --- one alert per user and session ---


def test_an_alert_is_raised_worsens_and_is_closed_when_its_session_has_ended(scored: Scored) -> None:
    alerts = ScoreFollower(scored.settings)
    scored.arrive(row(0, 0.6), row(0, 0.2, "bob"))
    assert alerts.poll(at(0)) == 1
    scored.arrive(row(1, 0.8))
    assert alerts.poll(at(1)) == 1
    assert scored.short() == [("ada", 2, "open", 2, 0.8)]
    scored.arrive(row(33, 0.2, "bob", 33))
    assert alerts.poll(at(33)) == 1
    assert scored.short() == [("ada", 3, "closed", 2, 0.8)]
    (alert,) = scored.alerts()
    assert (alert["window_start"], alert["reasons"][0]["text"]) == (at(1), "minute 1")
    assert alerts.poll(at(34)) == 0


def test_when_nobody_acts_any_more_the_clock_closes(scored: Scored) -> None:
    alerts = ScoreFollower(scored.settings)
    scored.arrive(row(0, 0.6))
    alerts.poll(at(0))
    assert alerts.poll(at(31)) == 0
    assert alerts.poll(at(32)) == 1
    assert scored.short() == [("ada", 2, "closed", 1, 0.6)]


def test_scores_that_a_clock_wrote_which_was_set_back_raise_alerts_like_any_others(scored: Scored) -> None:
    alerts = ScoreFollower(scored.settings)
    for number, hours in enumerate((0, 5, -5, -5, 3)):
        scored.clock = timedelta(hours=hours)
        scored.arrive(row(number, 0.6 + number / 20))
        assert alerts.poll(at(number)) == 1
    assert scored.short() == [("ada", 5, "open", 5, 0.8)]


def test_risk_and_verdicts_that_are_given_last_are_valid_when_the_clock_is_set_back(
    scored: Scored, monkeypatch: pytest.MonkeyPatch
) -> None:
    alerts = ScoreFollower(scored.settings)
    scored.arrive(row(0, 0.6))
    alerts.poll(at(0))
    (alert,) = scored.alerts()
    for hours, verdict in ((0, True), (-1, False), (-2, True), (-3, False)):

        class Clock(datetime):
            off = timedelta(hours=hours)

            @classmethod
            def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
                return datetime.now(tz) + cls.off

        monkeypatch.setattr(feedback, "datetime", Clock)
        monkeypatch.setattr(follower, "datetime", Clock)
        feedback.record(scored.root, alert, is_true=verdict)
        assert feedback.newest(scored.root)[alert["alert_id"]]["verdict"] == ("true" if verdict else "false")
        alerts.poll(at(1))
        ((_, risk),) = scored.risk().values()
        assert (risk > 0) == verdict


def test_a_minute_from_the_future_closes_nobodys_alert(scored: Scored) -> None:
    alerts = ScoreFollower(scored.settings)
    scored.arrive(row(0, 0.6), row(59, 0.1, "fast clock", 59))
    alerts.poll(at(0))
    assert scored.short() == [("ada", 1, "open", 1, 0.6)]


def test_what_late_events_take_back_is_withdrawn_and_what_they_join_is_merged(scored: Scored) -> None:
    alerts = ScoreFollower(scored.settings)
    scored.arrive(row(0, 0.6), row(40, 0.7, session=40), row(0, 0.9, "bob"))
    alerts.poll(at(41))
    scored.arrive(row(20, 0.1), row(40, 0.7), row(0, 0.3, "bob"))
    alerts.poll(at(42))
    assert scored.short() == [
        ("ada", 2, "open", 2, 0.7),
        ("ada", 2, "merged", 1, 0.7),
        ("bob", 2, "withdrawn", 0, 0.9),
    ]
    first, second, _ = scored.alerts()
    assert second["merged_into"] == first["alert_id"]


def test_a_late_row_for_what_was_forgotten_revises_the_old_alert(scored: Scored) -> None:
    settings = with_alerts(scored.settings, remember_hours=1)
    alerts = ScoreFollower(settings)
    scored.arrive(row(0, 0.6), row(1, 0.7))
    scored.arrive(row(2000, 0.6, "bob", 2000))
    alerts.poll(at(2000))
    assert not alerts.book.minutes.get("ada")
    scored.arrive(row(2, 0.9))
    alerts.poll(at(2001))
    assert scored.short()[0] == ("ada", 2, "closed", 3, 0.9)


# --- crashes ---


def journey(seed: int) -> list[list[dict[str, Any]]]:
    """Batches of three people: minutes revised, joined, taken back, in no order."""
    chance = random.Random(seed)
    batches = []
    for _ in range(8):
        rows = {}
        for _ in range(chance.randint(1, 5)):
            user, minute = chance.choice("abc"), chance.randint(0, 50)
            session = 0 if minute < 20 or chance.random() < 0.3 else 40
            rows[user, minute] = row(minute, chance.choice([0.1, 0.6, 0.9]), user, min(session, minute))
        batches.append(list(rows.values()))
    return batches


def standing(scored: Scored) -> list[tuple[Any, ...]]:
    names = ("user_id", "session_start", "first_window_start", "last_window_start", "flagged_minutes")
    return [tuple(alert[n] for n in names) for alert in scored.alerts() if alert["state"] in ("open", "closed")]


def from_scratch(scored: Scored) -> list[tuple[Any, ...]]:
    """The alerts as a plain loop over the newest scores finds them."""
    sessions: dict[tuple[str, datetime], list[datetime]] = {}
    for found in latest_in_arrow(arrow_tables.read(scored.root, SCORES), SCORES).to_pylist():
        if found["verdict"] == "anomaly":
            sessions.setdefault((found["user_id"], found["session_start"]), []).append(found["window_start"])
    return sorted((*key, min(minutes), max(minutes), len(minutes)) for key, minutes in sessions.items())


@pytest.mark.parametrize("seed", range(6))
def test_killed_between_any_two_writes_it_ends_with_the_alerts_of_a_plain_loop_over_the_scores(
    scored: Scored, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    write, writes = arrow_tables.append, 0

    def dying(root: str, table: Any, *args: Any, **named: Any) -> None:
        nonlocal writes
        write(root, table, *args, **named)
        writes += 1
        if table is not SCORES and chance.random() < 0.3:
            raise KeyboardInterrupt  # dead after this write, before whatever comes next

    monkeypatch.setattr(arrow_tables, "append", dying)
    alerts = ScoreFollower(scored.settings)
    for minute, batch in enumerate(journey(seed)):
        scored.arrive(*batch)
        while True:
            try:
                alerts.poll(at(50 + minute))
                break
            except KeyboardInterrupt:
                alerts = ScoreFollower(scored.settings)
    monkeypatch.undo()
    ScoreFollower(scored.settings).poll(at(60))
    assert standing(scored) == from_scratch(scored)
    revisions = arrow_tables.read(scored.root, ALERTS, ["alert_id", "revision"]).to_pylist()
    assert len({(r["alert_id"], r["revision"]) for r in revisions}) == len(revisions)
    assert ScoreFollower(scored.settings).poll(at(60)) == 0
    rolled_up = latest_in_arrow(arrow_tables.read(scored.root, RISK), RISK).to_pylist()
    minutes: dict[str, int] = {alert["user_id"]: 0 for alert in scored.alerts()}
    for user, *_, flagged in standing(scored):
        minutes[user] += flagged
    assert {r["user_id"]: r["flagged_minutes"] for r in rolled_up} == minutes


def test_a_second_process_is_refused(scored: Scored, tmp_path: Path) -> None:
    storage = scored.settings.storage.model_copy(update={"checkpoints": f"{tmp_path}/other"})
    first, second = (
        ScoreFollower(scored.settings),
        ScoreFollower(scored.settings.model_copy(update={"storage": storage})),
    )
    scored.arrive(row(0, 0.6))
    first.poll(at(0))
    with pytest.raises(BehaviorError, match="another process that runs as 'raise_alerts'"):
        second.poll(at(0))
    assert len(scored.short()) == 1


def test_of_a_person_who_was_erased_nothing_more_is_said(scored: Scored) -> None:
    alerts = ScoreFollower(scored.settings)
    scored.arrive(row(0, 0.6), row(0, 0.6, "bob"))
    alerts.poll(at(0))
    for table in (SCORES, ALERTS, RISK):
        arrow_tables.opened(scored.root, table).delta.delete("user_id = 'ada'")
    assert alerts.poll(at(100)) == 1
    assert scored.short() == [("bob", 2, "closed", 1, 0.6)]
    assert {user for user, _ in scored.risk()} == {"bob"}


# --- risk ---


def test_risk_follows_alerts_and_feedback(scored: Scored) -> None:
    alerts = ScoreFollower(scored.settings)
    day = NOON.replace(hour=0)
    scored.arrive(row(0, 0.6), row(2880, 0.6, session=2880), row(0, 0.6, "bob"))
    alerts.poll(at(2880))
    before = scored.risk()
    assert before["ada", day] == before["bob", day]
    assert before["bob", day][1] == pytest.approx(100 * (1 - 2**-0.2))
    assert before["ada", day + timedelta(days=2)][1] > before["ada", day][1]
    feedback.record(scored.root, scored.alerts()[0], is_true=False)
    alerts.poll(at(2880))
    after = scored.risk()
    assert after["ada", day] == (0, 0.0)
    assert after["ada", day + timedelta(days=2)][1] == pytest.approx(before["bob", day][1])
    assert after["bob", day] == before["bob", day]


# --- Kafka ---


@pytest.fixture
def told(scored: Scored, broker: EmbeddedBroker, topic: str) -> Settings:
    """The settings with alerts sent to a topic of the test's own."""
    kafka = scored.settings.kafka.model_copy(
        update={"bootstrap_servers": broker.bootstrap_servers, "alerts_topic": topic}
    )
    return with_alerts(scored.settings.model_copy(update={"kafka": kafka}), kafka=True)


def records(settings: Settings, count: int) -> list[tuple[str, dict[str, Any]]]:
    """At least so many records of the alerts topic, and whatever comes within a moment more: key and value."""
    consumer = Consumer(
        {
            "bootstrap.servers": settings.kafka.bootstrap_servers,
            "group.id": f"test-{time.monotonic_ns()}",
            "auto.offset.reset": "earliest",
        }
    )
    found: list[tuple[str, dict[str, Any]]] = []
    end = time.monotonic() + 60
    try:
        consumer.subscribe([settings.kafka.alerts_topic])
        while time.monotonic() < end:
            message = consumer.poll(0.5)
            if message is None and len(found) >= count:
                return found
            if message is not None and message.error() is None:
                found.append(((message.key() or b"").decode(), json.loads(message.value() or b"{}")))
    finally:
        consumer.close()
    return found


def test_every_revision_goes_to_kafka_once_keyed_by_its_user(scored: Scored, told: Settings) -> None:
    for step in ([row(0, 0.6)], [row(1, 0.9), row(0, 0.7, "bob")]):
        scored.arrive(*step)
        raise_once(told)
        raise_once(told)  # a start with nothing new sends nothing again
    found = records(told, 3)
    written = arrow_tables.read(scored.root, ALERTS, ["user_id", "alert_id", "revision"]).to_pylist()
    sent = [(key, value["alert_id"], value["revision"]) for key, value in found]
    assert sorted(sent) == sorted((r["user_id"], r["alert_id"], r["revision"]) for r in written)
    assert found[-1][1]["session_start"] == "2026-03-01T12:00:00Z"


def test_with_kafka_away_alerts_are_written_and_sent_when_it_is_back(scored: Scored, told: Settings) -> None:
    away = told.kafka.model_copy(update={"bootstrap_servers": "127.0.0.1:1"})
    scored.arrive(row(0, 0.6))
    stream = AlertStream(told.model_copy(update={"kafka": away}))
    stream.start(follow=False)
    with pytest.raises(EnvironmentProblem, match=r"Alerts are in table alerts, but kafka did not take all"):
        stream.drain(seconds=0.5)
    stream.stop()
    assert len(scored.short()) == 1
    raise_once(told)
    assert [key for key, _ in records(told, 1)] == ["ada"]


# --- the webhook ---


@dataclass
class Receiver:
    """A server that answers as told; the last answer is repeated."""

    answers: list[int]
    got: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    asked: int = 0
    release: threading.Event = field(default_factory=threading.Event)


@contextmanager
def receiver(*answers: int, hang: bool = False) -> Iterator[tuple[str, Receiver]]:
    state = Receiver(list(answers))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.asked += 1
            if hang:
                state.release.wait(60)
            code = state.answers.pop(0) if len(state.answers) > 1 else state.answers[0]
            if code == 200:
                state.got.append((self.headers["Idempotency-Key"], json.loads(body)))
            self.send_response(code)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook", state
    finally:
        state.release.set()
        server.shutdown()
        server.server_close()


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} did not come within {seconds:.0f} s"
        time.sleep(0.02)


def test_a_webhook_that_fails_twice_gets_the_alert_at_the_third_attempt(scored: Scored) -> None:
    with receiver(503, 503, 200) as (address, state):
        stream = AlertStream(with_alerts(scored.settings, webhook=address, webhook_seconds=30.0))
        stream.start(follow=False)
        scored.arrive(row(0, 0.6))
        stream.drain()
        stream.stop()
    ((mark, alert),) = state.got
    assert (state.asked, mark, alert["user_id"]) == (3, f"{alert['alert_id']}-1", "ada")


def test_what_a_webhook_never_takes_is_given_up_and_counted_and_the_next_alert_goes_on(
    scored: Scored, caplog: pytest.LogCaptureFixture
) -> None:
    """And no line of any level names the address: whoever knows it can post there."""
    caplog.set_level(logging.INFO)
    with receiver(500, 500, 200) as (address, state):
        settings = with_alerts(
            scored.settings, webhook=f"{address}/s3cret-part", webhook_attempts=2, webhook_seconds=30.0
        )
        stream = AlertStream(settings)
        stream.start(follow=False)
        for user in ("ada", "bob"):
            scored.arrive(row(0, 0.6, user))
            stream.drain()
        (delivery,) = stream.deliveries
        stream.stop()
    assert "was given up after 2 attempts: the webhook answered 500" in caplog.text
    assert "s3cret-part" not in caplog.text
    assert (delivery.delivered, delivery.given_up) == (1, 1)
    assert [alert["user_id"] for _, alert in state.got] == ["bob"]


def test_a_webhook_that_hangs_holds_no_alert_up(scored: Scored) -> None:
    with receiver(200, hang=True) as (address, state):
        stream = AlertStream(with_alerts(scored.settings, webhook=address, webhook_seconds=60.0))
        stream.start(follow=False)
        scored.arrive(row(0, 0.6))
        stream.poll()
        wait_for(lambda: state.asked == 1, "the webhook's request")
        scored.arrive(row(1, 0.9))
        assert stream.poll() == 1
        assert scored.short() == [("ada", 2, "open", 2, 0.9)]
        state.release.set()
        stream.drain()
        stream.stop()
    assert [alert["revision"] for _, alert in state.got] == [1, 2]


def test_in_its_own_thread_it_follows_until_it_is_stopped(scored: Scored) -> None:
    stream = AlertStream(with_alerts(scored.settings, poll_seconds=0.01))
    stream.start()
    try:
        scored.arrive(row(0, 0.6))
        wait_for(lambda: scored.short() == [("ada", 1, "open", 1, 0.6)], "the alert")
        scored.arrive(row(1, 0.9))
        wait_for(lambda: scored.short() == [("ada", 2, "open", 2, 0.9)], "its revision")
        assert stream.failure is None
    finally:
        stream.stop()


# --- behind the real scoring ---


def test_behind_the_stream_there_is_one_alert_for_every_user_session_with_a_flagged_minute(
    platform: Platform, producer: EventProducer
) -> None:
    send(producer, *people(1500))
    platform.ingest()
    platform.build()
    version = train_model.train(platform.spark, platform.lake, platform.settings)
    promote_model.promote(platform.settings, version, why="test")
    platform.score()
    ScoreFollower(with_alerts(platform.settings, kafka=False)).poll()
    newest = latest(platform.read(SCORES), SCORES).where("verdict = 'anomaly'")
    expected = newest.groupBy("user_id", "session_start").agg(
        F.count("*").alias("flagged_minutes"), F.max("anomaly_score").alias("anomaly_score")
    )
    found = latest(platform.read(ALERTS), ALERTS)
    assert expected.count() > 0
    assert sorted(found.select(expected.columns).collect()) == sorted(expected.collect())
    assert ScoreFollower(with_alerts(platform.settings, kafka=False)).poll() == 0
