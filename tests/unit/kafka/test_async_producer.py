"""What becomes of records where Kafka's client takes no more, or fails."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import cast

import pytest

from features.errors import EnvironmentProblem
from kafka.async_producer import AsyncProducer, QueueFullError
from kafka.producer import EventProducer, Headers


class StubProducer:
    """A Kafka client that takes so many records, acknowledges them when served, and then is full or fails."""

    topic = "t"

    def __init__(self, room: int, *, fails: bool = False) -> None:
        self.room = room
        self.fails = fails
        self.reports: list[Callable[[bool], None]] = []
        self.abandoned = threading.Event()

    def offer(self, value: bytes, key: bytes, report: Callable[[bool], None], headers: Headers | None = None) -> bool:
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


def async_producer(*producers: StubProducer, max_in_flight: int = 10) -> AsyncProducer:
    clients = iter(producers)
    return AsyncProducer(lambda: cast(EventProducer, next(clients)), 5, max_in_flight)


def test_what_the_client_does_not_take_is_told_apart_from_what_kafka_has() -> None:
    async def scenario() -> None:
        producer = async_producer(StubProducer(3))
        producer.start()
        assert await producer.send([(b"k", b"v")] * 2) == [True, True]
        assert await producer.send([(b"k", b"v")] * 2) == [True, False]
        with pytest.raises(QueueFullError):
            await producer.send([(b"k", b"v")])
        await asyncio.sleep(0)
        assert producer.in_flight == 0
        await producer.close()

    asyncio.run(scenario())


def test_more_than_may_wait_is_refused_as_a_whole() -> None:
    async def scenario() -> None:
        client = StubProducer(100)
        producer = async_producer(client, max_in_flight=5)
        waiting = asyncio.create_task(producer.send([(b"k", b"v")] * 4))
        await asyncio.sleep(0)
        with pytest.raises(QueueFullError):
            await producer.send([(b"k", b"v")] * 2)
        assert client.room == 96
        producer.start()
        assert await waiting == [True] * 4
        assert await producer.send([(b"k", b"v")] * 5) == [True] * 5
        await producer.close()

    asyncio.run(scenario())


def test_a_client_that_has_failed_for_good_is_replaced() -> None:
    async def scenario() -> None:
        broken, sound = StubProducer(1, fails=True), StubProducer(9)
        producer = async_producer(broken, sound)
        producer.start()
        assert await producer.send([(b"k", b"v")] * 2) == [True, False]
        await asyncio.to_thread(broken.abandoned.wait, 10)
        assert await producer.send([(b"k", b"v")] * 2) == [True, True]
        await producer.close()
        assert sound.abandoned.is_set()

    asyncio.run(scenario())
