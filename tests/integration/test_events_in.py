"""Files and simulated people through a real broker."""

from __future__ import annotations

import csv
import gzip
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition

from features.errors import EnvironmentProblem
from jobs.simulate_events import send
from kafka.producer import EventProducer
from local.broker import EmbeddedBroker
from replay.file_replay import replay
from simulation import Scenario, simulate
from tests.paths import DATA, PROJECT

pytestmark = pytest.mark.integration

KEY = b"0123456789abcdef"
LOG_LINE = b'203.0.113.%d - - [22/Jan/2019:03:56:%02d +0330] "GET /p/%d HTTP/1.1" 200 30577 "-" "Firefox/64.0" "-"'


@pytest.fixture
def records(broker: EmbeddedBroker, topic: str) -> Callable[[], list[Message]]:
    """All records of the topic, partition by partition in order of offset."""

    def read() -> list[Message]:
        consumer = Consumer(
            {"bootstrap.servers": broker.bootstrap_servers, "group.id": "test", "enable.auto.commit": False}
        )
        try:
            places = [TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(4)]
            ends = {place.partition: consumer.get_watermark_offsets(place, timeout=10)[1] for place in places}
            consumer.assign(places)
            found: list[Message] = []
            while len(found) < sum(ends.values()):
                got = consumer.consume(min(10_000, sum(ends.values()) - len(found)), timeout=10)
                assert got, f"{len(found)} of {sum(ends.values())} records could be read"
                found += got
        finally:
            consumer.close()
        return sorted(found, key=lambda record: (record.partition() or 0, record.offset() or 0))

    return read


def by_user(found: list[Message]) -> dict[bytes | None, list[Message]]:
    groups: dict[bytes | None, list[Message]] = defaultdict(list)
    for record in found:
        groups[record.key()].append(record)
    return groups


def test_every_line_of_a_log_is_one_record_keyed_by_user_and_in_order(
    tmp_path: Path, producer: EventProducer, records: Callable[[], list[Message]]
) -> None:
    lines = [LOG_LINE % (n % 17, n % 60, n) for n in range(3000)]
    lines[7], lines[8], lines[2999] = b"", b"broken \xff 203.0.113.7", b'{"user_id":"x"}'
    path = tmp_path / "access.log.gz"
    path.write_bytes(gzip.compress(b"\n".join(lines)))
    assert replay(path, producer, key=lambda: KEY).lines == 3000
    assert producer.delivered == producer.sent == 3000
    found = by_user(records())
    others = sorted(record.value() or b"" for record in found.pop(None))
    assert [b"no_request" in value for value in others] == [False, True, True]
    assert not any(b"203.0.113" in value for value in others)
    assert len(found) == 17
    for user, theirs in found.items():
        events = [json.loads(record.value() or b"") for record in theirs]
        pages = [int(event["page"].removeprefix("/p/")) for event in events]
        assert {event["user_id"].encode() for event in events} == {user}
        assert len({record.partition() for record in theirs}) == 1
        assert pages == sorted(pages)


def test_json_lines_arrive_byte_for_byte(
    tmp_path: Path, producer: EventProducer, records: Callable[[], list[Message]]
) -> None:
    lines = [b'{"user_id": "a", "n":1}', b"", b"\x00\xff", b"[]", b'{"user_id":1}\r', b'{"user_id":"a","n":2}']
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n")
    assert replay(path, producer).lines == 6
    found = records()
    assert sorted(record.value() or b"" for record in found) == sorted(lines)
    assert [record.value() for record in found if record.key() == b"a"] == [lines[0], lines[5]]


def test_the_longest_line_and_key_fit_into_a_record(
    tmp_path: Path, producer: EventProducer, records: Callable[[], list[Message]]
) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"user_id":"%s","a":"%s"}\n' % (65_000 * b"u", 900_000 * b"x") + 3_000_000 * b"y")
    done = replay(path, producer)
    assert (done.lines, done.cut) == (2, 2)
    assert {dict(record.headers() or [])["cut_from_bytes"] for record in records()} == {b"965021", b"3000000"}


def test_simulated_users_keep_their_order_and_events_arrive_as_they_are(
    producer: EventProducer, records: Callable[[], list[Message]]
) -> None:
    start = datetime.now(UTC) - timedelta(hours=1)
    scenario = Scenario(start, rate=20, duration=timedelta(minutes=20))
    sent = list(simulate(scenario))
    assert send(iter(sent), producer) == len(sent)
    found = records()
    got = sorted((json.loads(record.value() or b"") for record in found), key=lambda event: str(event["event_id"]))
    assert got == sorted(sent, key=lambda event: event["event_id"])
    for theirs in by_user(found).values():
        times = [json.loads(record.value() or b"")["timestamp"] for record in theirs]
        assert times == sorted(times)


def test_live_events_are_sent_when_they_happen(producer: EventProducer, records: Callable[[], list[Message]]) -> None:
    begin = datetime.now(UTC) + timedelta(seconds=1)
    scenario = Scenario(begin, rate=100, duration=timedelta(seconds=3))
    assert send(simulate(scenario), producer) > 150
    assert datetime.now(UTC) - begin > timedelta(seconds=2.5)
    for record in records():
        event = json.loads(record.value() or b"")
        happened, told = (datetime.fromisoformat(event[name]) for name in ("timestamp", "sent_at"))
        arrived = datetime.fromtimestamp(record.timestamp()[1] / 1000, UTC)
        assert happened - timedelta(milliseconds=2) <= told
        assert happened - timedelta(milliseconds=2) <= arrived


def test_an_app_sends_with_the_helper(broker: EmbeddedBroker, topic: str, records: Callable[[], list[Message]]) -> None:
    with EventProducer(broker.bootstrap_servers, topic) as producer:
        event_id = producer.send({"user_id": "7", "action": "click", "page": "/", "timestamp": datetime.now(UTC)})
    (record,) = records()
    assert (record.key(), json.loads(record.value() or b"")["event_id"]) == (b"7", event_id)


def test_a_topic_that_is_not_there_is_said_in_a_sentence(broker: EmbeddedBroker) -> None:
    with pytest.raises(EnvironmentProblem, match="has no topic 'nowhere'"):
        EventProducer(broker.bootstrap_servers, "nowhere").check()


def run_job(name: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"jobs.{name}", *map(str, arguments)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, **environment},
    )


def test_the_jobs_run_from_the_command_line(
    broker: EmbeddedBroker, topic: str, tmp_path: Path, records: Callable[[], list[Message]]
) -> None:
    where = ["--bootstrap-servers", broker.bootstrap_servers, "--topic", topic]
    labels = tmp_path / "labels.csv"
    done = run_job("simulate_events", *where, "--history", "0.1", "--rate", "5", "--labels", labels)
    assert (done.returncode, done.stderr) == (0, "")
    simulated = len(records())
    assert done.stdout == f"{simulated} events sent to {topic}.\n"
    with labels.open(encoding="utf-8") as file:
        users = {row["user_id"] for row in csv.DictReader(file)}
    assert {(record.key() or b"").decode() for record in records()} <= users
    log = tmp_path / "access.log"
    log.write_bytes(b"\n".join(LOG_LINE % (n, n, n) for n in range(5)) + b"\nbroken\n")
    done = run_job("replay_file", log, *where, BEHAVIOR_PSEUDONYM_KEY=KEY.decode())
    assert (done.returncode, done.stderr) == (0, "")
    first, second = done.stdout.splitlines()
    assert first == f"6 lines of {log} sent to {topic}, 1 of them not understood."
    assert second.startswith('The first that was not understood: {"no_request": "an access log has other lines"')
    assert len(records()) == simulated + 6


@pytest.mark.parametrize(
    ("job", "arguments", "code", "said"),
    [
        ("replay_file", ["missing.jsonl"], 2, "missing.jsonl cannot be read: no such file or directory."),
        ("replay_file", ["setup.cfg"], 2, "setup.cfg is neither an access log of JSON objects"),
        ("replay_file", ["--rate", "0", "README.md"], 2, "The rate must be lines per second above 0; 0 was given."),
        ("simulate_events", ["--rate", "-3", "--duration", "1"], 2, "The rate must be a number of events per second"),
        ("simulate_events", ["--users", "3", "--rate", "50"], 2, "3 users make at most"),
        ("simulate_events", ["--history", "1", "--duration", "1"], 2, "Either --history or --duration"),
        ("simulate_events", ["--topic", "nowhere"], 1, "has no topic 'nowhere'"),
        ("simulate_events", ["--bootstrap-servers", "127.0.0.1:1"], 1, "No Kafka broker answers at 127.0.0.1:1."),
    ],
)
def test_a_users_mistake_is_one_sentence_and_an_exit_code(
    broker: EmbeddedBroker, topic: str, job: str, arguments: list[str], code: int, said: str
) -> None:
    done = run_job(job, "--bootstrap-servers", broker.bootstrap_servers, "--topic", topic, *arguments)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.skipif(not DATA.exists(), reason=f"no real data in {DATA}; set BEHAVIOR_DATA")
@pytest.mark.parametrize(
    ("name", "lines", "users"), [("shop_access.log.gz", 10_018, 640), ("wiki_events.jsonl.gz", 39_244, 10_531)]
)
def test_real_files_arrive_line_by_line(
    name: str, lines: int, users: int, producer: EventProducer, records: Callable[[], list[Message]]
) -> None:
    done = replay(DATA / name, producer, key=lambda: KEY)
    found = records()
    assert (done.lines, done.raw, len(found), len(by_user(found))) == (lines, 0, lines, users)
