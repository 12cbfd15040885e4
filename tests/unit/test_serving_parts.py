"""Cutting bodies, limiting clients, and the way to Kafka where its client fails."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.errors import ConfigurationError, EnvironmentProblem
from jobs.runtime.producer import EventProducer
from jobs.runtime.settings import load_settings
from serving.bodies import cut
from serving.limits import Buckets, client_of
from serving.outlet import Outlet, QueueFullError

TEXTS = st.recursive(
    st.sampled_from([b'"a,]}[{"', rb'"\"]\\"', b"1.50", b"null", '"\u00e9\U0001f600"'.encode(), b'"\xff"']),
    lambda inner: st.lists(inner, max_size=3).map(lambda parts: b"[" + b" , ".join(parts) + b"]"),
)
OBJECTS = st.lists(TEXTS, max_size=3).map(lambda parts: b"{" + b",\t".join(b'"k":' + part for part in parts) + b"}")


@given(st.lists(OBJECTS, min_size=1, max_size=4), st.sampled_from([b"", b" ", b"\n", b"\r\n "]))
def test_an_array_is_cut_into_the_texts_it_was_made_of(texts: list[bytes], blanks: bytes) -> None:
    assert cut(blanks + b"[" + (blanks + b"," + blanks).join(texts) + blanks + b"]" + blanks) == texts


@given(st.lists(OBJECTS, min_size=1, max_size=4), st.sampled_from([b"\n", b"\r\n", b"\n \n"]))
def test_lines_are_cut_into_the_texts_they_were_made_of(texts: list[bytes], end: bytes) -> None:
    assert cut(end.join(texts)) == cut(end.join([*texts, b""])) == texts


@given(
    st.lists(st.sampled_from([b"[", b"]", b"{", b"}", b",", b'"', b"\\", b"\n", b" ", b"1", b"\xff"])).map(b"".join),
    st.sampled_from([b"", b"[", b"{", b'["']),
)
def test_cutting_loses_nothing_but_blanks_commas_and_the_arrays_brackets(body: bytes, start: bytes) -> None:
    left = bytes(byte for byte in start + body if byte not in b" \t\r\n,[]")
    assert bytes(byte for byte in b"".join(cut(start + body)) if byte not in b" \t\r\n,[]") == left


@pytest.mark.parametrize(
    ("body", "media", "texts"),
    [
        (b"", "", []),
        (b"[ ]", "", []),
        (b'{"a":\n1}', "", [b'{"a":\n1}']),
        (b'{"a":\n1}', "application/x-ndjson", [b'{"a":', b"1}"]),
        (b'{"a": "b\n{"c": 1}', "", [b'{"a": "b', b'{"c": 1}']),
        (b"{}{}", "", [b"{}{}"]),
        (b"[{},\n{}", "", [b"[{},\n{}"]),
        (b"[{}],{}]", "", [b"[{}],{}]"]),
        (b"[{}]", "application/x-ndjson", [b"[{}]"]),
        (b"[{}}", "", [b"[{}}"]),
        (b"[}", "", [b"[}"]),
        (b"[,]", "", [b"", b""]),
        (b"\xff\xfe{\n", "", [b"\xff\xfe{"]),
    ],
)
def test_corners_of_cutting(body: bytes, media: str, texts: list[bytes]) -> None:
    assert cut(body, media) == texts


def test_a_bucket_gives_all_tokens_or_none_and_says_when() -> None:
    now = [0.0]
    buckets = Buckets(2, 10, clock=lambda: now[0])
    assert [buckets.take("a", 6), buckets.take("a", 6), buckets.take("a", 4)] == [0, 1, 0]
    assert (buckets.take("a", 1), buckets.take("b", 10)) == (0.5, 0)
    now[0] = 0.5
    assert buckets.take("a", 1) == 0
    now[0] = 1000
    assert (buckets.take("a", 10), buckets.take("a", 1)) == (0, 0.5)


def test_the_buckets_of_many_clients_take_bounded_memory() -> None:
    buckets = Buckets(1, 1, clients=2, clock=lambda: 0.0)
    assert [buckets.take(client, 1) for client in "abab"] == [0, 0, 1, 1]
    assert [buckets.take(client, 1) for client in "cb"] == [0, 1]
    assert buckets.take("a", 1) == 0, "the one not seen for longest was dropped"


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2", True),
        ("", "unknown", False),
    ],
)
def test_whose_bucket_an_address_has(first: str, second: str, same: bool) -> None:
    assert (client_of(first) == client_of(second)) is same


class StubProducer:
    """A Kafka client that takes so many records, acknowledges them when served, and then is full or fails."""

    topic = "t"

    def __init__(self, room: int, *, fails: bool = False) -> None:
        self.room = room
        self.fails = fails
        self.reports: list[Callable[[bool], None]] = []
        self.abandoned = threading.Event()

    def offer(self, value: bytes, key: bytes, report: Callable[[bool], None]) -> bool:
        if self.room == 0 and self.fails:
            raise EnvironmentProblem("The client has failed.")
        if self.room == 0:
            return False
        self.room -= 1
        self.reports.append(report)
        return True

    def poll(self, seconds: float) -> None:
        threading.Event().wait(min(seconds, 0.01))
        while self.reports:
            self.reports.pop(0)(True)

    def flush(self, seconds: float) -> int:
        return 0

    def abandon(self) -> None:
        self.abandoned.set()


def outlet(*producers: StubProducer, most_in_flight: int = 10) -> Outlet:
    clients = iter(producers)
    return Outlet(lambda: cast(EventProducer, next(clients)), 5, most_in_flight)


def test_what_the_client_does_not_take_is_told_apart_from_what_kafka_has() -> None:
    async def scenario() -> None:
        way = outlet(StubProducer(3))
        way.start()
        assert await way.send([(b"k", b"v")] * 2) == [True, True]
        assert await way.send([(b"k", b"v")] * 2) == [True, False]
        with pytest.raises(QueueFullError):
            await way.send([(b"k", b"v")])
        await asyncio.sleep(0)
        assert way.in_flight == 0
        await way.close()

    asyncio.run(scenario())


def test_more_than_may_wait_is_refused_as_a_whole() -> None:
    async def scenario() -> None:
        producer = StubProducer(100)
        way = outlet(producer, most_in_flight=5)
        waiting = asyncio.create_task(way.send([(b"k", b"v")] * 4))
        await asyncio.sleep(0)
        with pytest.raises(QueueFullError):
            await way.send([(b"k", b"v")] * 2)
        assert producer.room == 96
        way.start()
        assert await waiting == [True] * 4
        assert await way.send([(b"k", b"v")] * 5) == [True] * 5
        await way.close()

    asyncio.run(scenario())


def test_a_client_that_has_failed_for_good_is_replaced() -> None:
    async def scenario() -> None:
        broken, sound = StubProducer(1, fails=True), StubProducer(9)
        way = outlet(broken, sound)
        way.start()
        assert await way.send([(b"k", b"v")] * 2) == [True, False]
        await asyncio.to_thread(broken.abandoned.wait, 10)
        assert await way.send([(b"k", b"v")] * 2) == [True, True]
        await way.close()
        assert sound.abandoned.is_set()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("collector.max_events=5000", "burst must be at least max_events"),
        ("collector.max_in_flight=10", "max_in_flight must be at least max_events"),
        ("collector.allowed_origins=[shop.example]", "collector.allowed_origins"),
        ("collector.nonsense=1", "Unknown setting collector.nonsense"),
    ],
)
def test_settings_that_cannot_work_are_refused(override: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        load_settings("local", [override])
