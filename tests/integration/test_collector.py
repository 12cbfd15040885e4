"""The collector on a real broker, asked over real connections."""

from __future__ import annotations

import gzip
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from features.errors import ConfigurationError
from features.events import MAPPING_HEADER
from local.broker import EmbeddedBroker
from serving.app import create_app
from serving.server import Serving, serving
from settings import load_settings
from tests.paths import PROJECT

pytestmark = pytest.mark.integration

Record = tuple[bytes | None, bytes | None]


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    content: Any


def ask(server: Serving, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
    connection = HTTPConnection(server.host, server.port, timeout=30)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer: HTTPResponse = connection.getresponse()
        text = answer.read()
        names = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, names, json.loads(text) if "json" in names.get("content-type", "") else text)
    finally:
        connection.close()


def post(server: Serving, body: bytes, **headers: str) -> Answer:
    return ask(server, "POST", "/events", body, **{"Content_Type": "application/json", **headers})


def event(user: str = "u", **more: object) -> bytes:
    now = datetime.now(UTC).isoformat()
    return json.dumps({"user_id": user, "action": "view", "page": "/", "timestamp": now, **more}).encode()


@contextmanager
def collector(broker: EmbeddedBroker, topic: str, *overrides: str) -> Iterator[Serving]:
    overrides = ("serving.port=0", "collector.rate_per_second=100000", "collector.burst=100000", *overrides)
    settings = load_settings("local", overrides)
    app = create_app(settings, bootstrap_servers=broker.bootstrap_servers, topic=topic)
    with serving(app, settings.serving) as server:
        yield server


@pytest.fixture
def server(broker: EmbeddedBroker, topic: str) -> Iterator[Serving]:
    with collector(broker, topic) as server:
        yield server


def all_records(broker: EmbeddedBroker, topic: str) -> list[Record]:
    consumer = Consumer(
        {"bootstrap.servers": broker.bootstrap_servers, "group.id": "test", "enable.auto.commit": False}
    )
    try:
        places = [TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(4)]
        ends = sum(consumer.get_watermark_offsets(place, timeout=10)[1] for place in places)
        consumer.assign(places)
        found: list[Record] = []
        while len(found) < ends:
            got = consumer.consume(ends - len(found), timeout=10)
            assert got, f"{len(found)} of {ends} records could be read"
            found += [(record.key(), record.value()) for record in got]
        return found
    finally:
        consumer.close()


@pytest.fixture
def records(broker: EmbeddedBroker, topic: str) -> Callable[[], list[Record]]:
    return lambda: all_records(broker, topic)


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds:g} s"
        threading.Event().wait(0.05)


ODD = (
    '{ "timestamp":"2024-10-05T12:00:00.120Z",\t"page":"\\u00e9\u00e9\U0001f600", "user_id":"\u00fc",\n'
    ' "action":"Click", "n":1.10}'
)


@pytest.mark.parametrize(
    ("before", "between", "after"),
    [(b"", b"\n", b""), (b"[", b" ,\r\n", b"]"), (b" \n[\n", b",", b" ]\r\n"), (b"\n", b"\r\n\r\n", b"\n")],
    ids=["lines", "an array", "an array with blanks", "lines with blank ones"],
)
def test_every_accepted_event_arrives_byte_for_byte_with_its_user_as_key(
    server: Serving, records: Callable[[], list[Record]], before: bytes, between: bytes, after: bytes
) -> None:
    sent = [event(f"user {n}", n=n, text='a, [b] {c} \\" ]') for n in range(20)] + [ODD.replace("\n", "").encode()]
    answer = post(server, before + between.join(sent) + after)
    assert (answer.status, answer.content) == (202, {"accepted": 21, "rejected": 0, "errors": []})
    assert Counter(records()) == Counter((json.loads(value)["user_id"].encode(), value) for value in sent)


def test_one_event_may_take_several_lines(server: Serving, records: Callable[[], list[Record]]) -> None:
    assert post(server, ODD.encode() + b"\n").status == 202
    assert records() == [("\u00fc".encode(), ODD.encode())]


@pytest.mark.parametrize("media", ["text/plain;charset=UTF-8", "application/x-ndjson", ""])
def test_a_beacon_needs_no_content_type_of_json(
    server: Serving, records: Callable[[], list[Record]], media: str
) -> None:
    sent = [event("a"), event("b")]
    assert post(server, b"\n".join(sent), Content_Type=media).status == 202
    assert Counter(records()) == Counter(zip([b"a", b"b"], sent, strict=True))


def test_a_users_events_keep_their_order(server: Serving, records: Callable[[], list[Record]]) -> None:
    for start in (0, 100):
        assert post(server, b"\n".join(event(f"{n % 3}", n=n) for n in range(start, start + 100))).status == 202
    found = records()
    for user in (b"0", b"1", b"2"):
        numbers = [json.loads(value or b"")["n"] for key, value in found if key == user]
        assert numbers == sorted(numbers)


def test_of_a_mixed_batch_the_good_events_are_sent_and_the_bad_ones_named(
    server: Serving, records: Callable[[], list[Record]]
) -> None:
    good = [event("a"), event("b")]
    bad = [b'{"user_id": 5}', event(""), event().replace(b"view", b"caf\xe9"), b"nonsense", event(page="x" * 40_000)]
    answer = post(server, b"[" + b",".join([bad[0], good[0], *bad[1:], good[1]]) + b"]")
    assert (answer.status, answer.content["accepted"], answer.content["rejected"]) == (202, 2, 5)
    assert [(error["index"], error["reason"], error["field"]) for error in answer.content["errors"]] == [
        (0, "missing_field", "action"),
        (2, "empty_user_id", "user_id"),
        (3, "not_utf8", None),
        (4, "not_json", None),
        (5, "too_large", None),
    ]
    assert Counter(records()) == Counter(zip([b"a", b"b"], good, strict=True))


NONE_GOOD: list[tuple[bytes, list[str]]] = [
    (b'{"user_id": "a"}', ["missing_field"]),
    (event() + event(), ["trailing_data"]),
    (b"[" + event(), ["not_json"]),
    (b"[" + event() + b"] x", ["not_json"]),
    (b"[1, [], null]", ["not_an_object"] * 3),
    (b"[{},]", ["missing_field", "empty"]),
    (b"\x1f\x8b\n\n", ["not_json"]),
    (b"[]", []),
    (b" \n", []),
]


def test_where_no_event_is_good_the_answer_is_400_with_the_reasons(
    server: Serving, records: Callable[[], list[Record]]
) -> None:
    for body, reasons in NONE_GOOD:
        answer = post(server, body)
        assert (answer.status, answer.headers["content-type"]) == (400, "application/problem+json")
        assert [error["reason"] for error in answer.content["errors"]] == reasons
        assert (answer.content["accepted"], answer.content["rejected"]) == (0, len(reasons))
    good = event("good")
    assert post(server, good).status == 202
    assert records() == [(b"good", good)], "nothing else was sent"


def test_what_is_too_large_is_answered_413_and_not_sent(
    broker: EmbeddedBroker, topic: str, records: Callable[[], list[Record]]
) -> None:
    with collector(broker, topic, "collector.max_body_bytes=50000", "collector.max_events=3") as server:
        for body in (b" " * 50_001, b" " * 3_000_000, b"\n".join([event()] * 4), event(page="x" * 40_000)):
            answer = post(server, body)
            assert (answer.status, answer.headers["content-type"]) == (413, "application/problem+json")
        assert post(server, b"\n".join([event("good")] * 3) + b" " * 49_000).status == 202
        assert [key for key, _ in records()] == [b"good"] * 3, "nothing else was sent"


def test_a_client_that_sends_too_much_is_told_when_to_come_back(
    broker: EmbeddedBroker, topic: str, records: Callable[[], list[Record]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEHAVIOR_READER_TOKEN", "a-token-of-many-letters")
    limits = ["collector.max_events=10", "collector.burst=10", "collector.rate_per_second=5"]
    with collector(broker, topic, *limits, "serving.trusted_proxies=[127.0.0.1]", "collector.public=true") as server:
        batch = b"\n".join([event()] * 10)
        assert post(server, batch).status == 202
        refused = post(server, batch)
        assert (refused.status, refused.headers["retry-after"]) in {(429, "1"), (429, "2")}
        assert len(records()) == 10
        assert post(server, batch, X_Forwarded_For="192.0.2.1").status == 202, "another client has a bucket of its own"
        wait_until(lambda: post(server, event()).status == 202, 10)


def test_a_client_cannot_give_itself_another_address(
    broker: EmbeddedBroker, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEHAVIOR_READER_TOKEN", "a-token-of-many-letters")
    limits = ["collector.max_events=1", "collector.burst=1", "collector.rate_per_second=0.01"]
    with collector(broker, topic, *limits, "collector.public=true") as server:
        assert post(server, event()).status == 202
        assert post(server, event(), X_Forwarded_For="192.0.2.1").status == 429


def test_concurrent_clients_lose_and_double_nothing(server: Serving, records: Callable[[], list[Record]]) -> None:
    batches = [[event(f"{client}", n=f"{client}-{n}") for n in range(25)] for client in range(60)]
    with ThreadPoolExecutor(12) as clients:
        answers = list(clients.map(lambda batch: post(server, b"\n".join(batch)), batches))
    assert [(answer.status, answer.content["accepted"]) for answer in answers] == [(202, 25)] * 60
    assert Counter(value for _, value in records()) == Counter(value for batch in batches for value in batch)


def test_pages_may_send_where_their_origin_is_allowed(broker: EmbeddedBroker, topic: str, server: Serving) -> None:
    page = "https://shop.example"
    assert post(server, event(), Origin=page).status == 403
    assert ask(server, "OPTIONS", "/events", Origin=page, Access_Control_Request_Method="POST").status == 405
    with collector(broker, topic, f"collector.allowed_origins=[{page}]") as open_server:
        answer = post(open_server, event(), Origin=page, Content_Type="text/plain")
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (202, page)
        preflight = ask(
            open_server,
            "OPTIONS",
            "/events",
            Origin=page,
            Access_Control_Request_Method="POST",
            Access_Control_Request_Headers="content-type",
        )
        assert (preflight.status, preflight.headers["access-control-allow-origin"]) == (200, page)
        assert post(open_server, event(), Origin="https://other.example").status == 403


def test_a_packed_body_is_read_within_the_limit_of_what_it_holds(
    server: Serving, records: Callable[[], list[Record]]
) -> None:
    one = event()
    assert post(server, gzip.compress(one), Content_Encoding="gzip").status == 202
    bomb = gzip.compress(b" " * 50_000_000)
    assert post(server, bomb, Content_Encoding="gzip").status == 413
    assert post(server, gzip.compress(one)[:-9], Content_Encoding="gzip").status == 400
    assert [value for _, value in records()] == [one]


def test_events_of_another_schema_are_read_by_the_mapping_of_the_topic(broker: EmbeddedBroker, topic: str) -> None:
    cloud = {"specversion": "1.0", "type": "view", "source": "/a", "subject": "u1", "id": "e1"}
    body = json.dumps(cloud | {"time": datetime.now(UTC).isoformat()}).encode()
    media = "application/cloudevents+json"
    with collector(broker, topic) as server:
        assert post(server, body, Content_Type=media).content["errors"][0]["reason"] == "missing_field"
    with collector(broker, topic, f"ingest.mappings.{topic}=cloudevents") as server:
        assert post(server, body, Content_Type=media).status == 202
        batch = b"[" + body + b"," + body + b"]"
        assert post(server, batch, Content_Type="application/cloudevents-batch+json").content["accepted"] == 2


def test_an_object_that_holds_several_events_is_sent_as_these(
    server: Serving, records: Callable[[], list[Record]]
) -> None:
    first, second = ({**json.loads(event()), "user_id": user, "n": user} for user in ("u1", "u2"))
    body = json.dumps({"tenant": "t", "events": [first, {"page": "/"}, second]}).encode()
    answer = post(server, body)
    assert (answer.status, answer.content["accepted"], answer.content["rejected"]) == (202, 2, 1)
    assert [(one["index"], one["reason"]) for one in answer.content["errors"]] == [(1, "missing_field")]
    sent = {key: json.loads(value or b"") for key, value in records()}
    assert sent == {b"u1": {**first, "tenant": "t"}, b"u2": {**second, "tenant": "t"}}
    many = json.dumps({"events": [first] * 501}).encode()
    assert post(server, many).status == 413, "as many as in an array"


def test_a_key_may_have_a_mapping_of_its_own_which_its_records_name(
    broker: EmbeddedBroker, topic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "tokens"
    file.write_text("web the-token-of-the-web-team\nother another-token-of-them\n")
    monkeypatch.setenv("BEHAVIOR_SENDER_TOKEN_FILE", str(file))
    chosen = ["ingest.mappings.segment=segment", "collector.mappings.web=segment"]
    body = json.dumps({"userId": "u1", "event": "Seen", "timestamp": datetime.now(UTC).isoformat()}).encode()
    with collector(broker, topic, *chosen) as server:
        refused = post(server, body, Authorization="Bearer another-token-of-them")
        assert refused.content["errors"][0]["reason"] == "missing_field"
        assert post(server, body, Authorization="Bearer the-token-of-the-web-team").status == 202
    options = {"bootstrap.servers": broker.bootstrap_servers, "group.id": "test", "auto.offset.reset": "earliest"}
    with closing(Consumer(options)) as consumer:
        consumer.subscribe([topic])
        (record,) = consumer.consume(1, timeout=30)
    assert (record.value(), record.headers()) == (body, [(MAPPING_HEADER, b"segment")])
    with pytest.raises(ConfigurationError, match=r"collector\.mappings\.web is 'ecs'; ingest\.mappings has none\."):
        create_app(load_settings("local", ["collector.mappings.web=ecs"]), bootstrap_servers="127.0.0.1:1")


def test_a_beacon_of_json_is_let_through_with_the_credentials_that_it_always_sends(
    broker: EmbeddedBroker, topic: str
) -> None:
    page = "https://shop.example"
    with collector(broker, topic, f"collector.allowed_origins=[{page}]") as server:
        preflight = ask(
            server,
            "OPTIONS",
            "/events",
            Origin=page,
            Access_Control_Request_Method="POST",
            Access_Control_Request_Headers="content-type",
        )
        assert preflight.headers["access-control-allow-credentials"] == "true"
        assert preflight.headers["access-control-allow-origin"] == page


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/events", {}, 405),
        ("GET", "/nothing", {}, 404),
        ("POST", "/events", {"Content_Type": "application/x-www-form-urlencoded"}, 415),
        ("POST", "/events", {"Content_Type": "application/json", "Content_Encoding": "br"}, 415),
        ("POST", "/events", {"Content_Type": "application/json", "Content_Encoding": "gzip"}, 400),
    ],
)
def test_what_is_not_offered_is_said_as_a_problem(
    server: Serving, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    answer = ask(server, method, path, event(), **headers)
    assert (answer.status, answer.content["status"], bool(answer.content["detail"])) == (status, status, True)


def test_a_request_that_does_not_arrive_is_ended(broker: EmbeddedBroker, topic: str) -> None:
    with (
        collector(broker, topic, "collector.read_seconds=0.3") as server,
        socket.create_connection((server.host, server.port), timeout=20) as slow,
    ):
        slow.sendall(b"POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        assert slow.recv(1000).startswith(b"HTTP/1.1 408")


def test_the_process_is_up_and_kafka_answers(server: Serving, broker: EmbeddedBroker, topic: str) -> None:
    assert ask(server, "GET", "/healthz").content == {"status": "up"}
    assert ask(server, "GET", "/readyz").content == {"status": "ready", "topic": topic, "partitions": 4}
    with collector(broker, "nowhere") as lost:
        assert ask(lost, "GET", "/healthz").status == 200
        answer = ask(lost, "GET", "/readyz")
        assert answer.status == 503
        assert "has no topic 'nowhere'" in answer.content["detail"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_while_kafka_is_away_nothing_is_promised_and_after_its_return_it_goes_on(tmp_path: Path) -> None:
    limits = ["collector.acknowledge_seconds=1.5", "collector.max_events=5", "collector.max_in_flight=12"]
    with EmbeddedBroker(tmp_path / "data", tmp_path / "logs", preferred_port=free_port()) as broker:
        broker.create_topic("events", 4)
        with collector(broker, "events", *limits) as server:
            wait_until(lambda: post(server, event("first")).status == 202)  # a broker just started hands out no ids yet
            before = event("before")
            assert post(server, before).status == 202
            broker.kill()

            begin = time.monotonic()
            refused = post(server, b"\n".join([event("while", n=1), b"{}", event("while", n=2)]))
            assert time.monotonic() - begin < 1.5 + 1
            assert (refused.status, refused.headers["retry-after"]) == (503, "2")
            assert (refused.content["accepted"], refused.content["unacknowledged"]) == (0, [0, 2])
            assert [error["reason"] for error in refused.content["errors"]] == ["missing_field"]

            with ThreadPoolExecutor(6) as clients:
                waiting = [clients.submit(post, server, b"\n".join([event("while")] * 5)) for _ in range(6)]
                begin = time.monotonic()
                assert ask(server, "GET", "/healthz").status == 200
                assert time.monotonic() - begin < 1, "the event loop is free while events wait"
                answers = [one.result() for one in waiting]
            assert {answer.status for answer in answers} == {429, 503}, "a full queue is said at once"
            assert all(answer.headers["retry-after"] for answer in answers)
            assert ask(server, "GET", "/readyz").status == 503

            port = broker.port
            broker.start()
            assert broker.port == port
            after = event("after")
            wait_until(lambda: post(server, after).status == 202)
            wait_until(lambda: ask(server, "GET", "/readyz").status == 200)
        found = all_records(broker, "events")
    assert (b"before", before) in found
    assert (b"after", after) in found


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "serving", "--with-owner", *arguments],  # it ends with the test, whatever happens
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_it_starts_from_the_command_line_and_ends_in_order(
    broker: EmbeddedBroker, topic: str, records: Callable[[], list[Record]]
) -> None:
    where = ["--bootstrap-servers", broker.bootstrap_servers, "--topic", topic]
    with start("--env", "local", "--set", "serving.port=0", *where) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        address = said.split("http://")[1].split("/events")[0]
        connection = HTTPConnection(address, timeout=30)
        connection.request("POST", "/events", event("a"))
        assert connection.getresponse().status == 202
        connection.close()

        taken = start("--set", f"serving.port={address.split(':')[1]}")
        _, error = taken.communicate(timeout=60)
        assert (taken.returncode, error.count("\n")) == (1, 1), error
        assert "is in use by another program" in error

        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert [key for key, _ in records()] == [b"a"]


def test_limits_that_contradict_each_other_are_refused_in_a_sentence() -> None:
    process = start("--set", "collector.burst=1")
    _, error = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "burst must be at least max_events" in error


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_example_for_web_pages_tries_again_and_sends_the_rest_when_the_page_is_left(
    server: Serving, records: Callable[[], list[Record]]
) -> None:
    page, example = Path(__file__).with_name("behavior_on_a_page.js"), PROJECT / "docs" / "examples" / "behavior.js"
    command = ["node", str(page), f"{server.url}/events", str(example)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    said = json.loads(run.stdout)
    ids = said["ids"]
    assert said["tries"] == [ids[:3], ids[:3], ids[:3], ids[3:5], ids[5:6]], "503, a lost answer, and success"
    assert len(said["beacons"]) == 1
    events = [json.loads(value or b"") for _, value in records()]
    times = Counter(event["event_id"] for event in events)
    assert times == {**dict.fromkeys(ids[:3], 3), **dict.fromkeys(ids[3:], 1)}, "ingest counts each id once"
    assert {event["session_id"] for event in events} == {events[0]["session_id"]}
