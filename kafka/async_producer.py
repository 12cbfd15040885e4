"""A producer for an event loop: it never blocks the loop, and knows of each event whether Kafka has it."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from features.errors import EnvironmentProblem
from kafka.producer import EventProducer, Headers

log = logging.getLogger(__name__)

Record = tuple[bytes, bytes]
"""Key and value."""


class QueueFullError(Exception):
    """So many events wait for Kafka that no more are taken."""


class AsyncProducer:
    """Sends records and waits for Kafka's word on them.

    A thread of its own serves the client's acknowledgements and passes them to the event loop, once per request.

    Args:
        connect: makes a producer; called again where Kafka's client has failed for good.
        seconds: how long Kafka may take to acknowledge.
        max_in_flight: records that may wait for it, of all requests together.
    """

    def __init__(self, connect: Callable[[], EventProducer], seconds: float, max_in_flight: int) -> None:
        self.seconds = seconds
        self.max_in_flight = max_in_flight
        self.in_flight = 0
        self._connect = connect
        self._producer = connect()
        self._has_failed = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="acknowledgements", daemon=True)
        self._checking = asyncio.Lock()
        self._checked_at = -60.0
        self._partitions: int | EnvironmentProblem = 0

    @property
    def topic(self) -> str:
        return self._producer.topic

    def start(self) -> None:
        self._thread.start()

    async def close(self) -> None:
        """Waits for what is in flight as long as Kafka may take; the rest is given up, and its senders were told so."""
        with suppress(EnvironmentProblem):  # failures were answered when they happened
            await asyncio.to_thread(self._producer.flush, self.seconds)
        self._stop.set()
        await asyncio.to_thread(self._thread.join)

    async def send(self, records: Sequence[Record], headers: Headers | None = None) -> list[bool]:
        """For each record, whether Kafka has acknowledged it within the time; all get the ``headers``.

        One that it has not may come to be written all the same: only the sender's ``event_id`` makes it safe to repeat.

        Raises:
            QueueFullError: too many are in flight; none of these was taken.
        """
        if self.in_flight + len(records) > self.max_in_flight:
            raise self._full()
        batch = _Batch(len(records), asyncio.get_running_loop(), self._settle)
        self.in_flight += len(records)
        self._offer(records, batch, headers)
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(batch.done), self.seconds)
        return list(batch.acknowledged)

    async def partitions(self) -> int:
        """The topic's number of partitions, asked of Kafka at most once a second.

        Raises EnvironmentProblem where Kafka does not answer or has no such topic.
        """
        async with self._checking:
            if time.monotonic() - self._checked_at > 1:
                try:
                    self._partitions = await asyncio.to_thread(self._producer.check)
                except EnvironmentProblem as problem:
                    self._partitions = problem
                self._checked_at = time.monotonic()
        if isinstance(self._partitions, EnvironmentProblem):
            raise self._partitions
        return self._partitions

    def _offer(self, records: Sequence[Record], batch: _Batch, headers: Headers | None) -> None:
        """Hand the records to the client, in their order; those it does not take are settled as not acknowledged."""
        accepted, failed = 0, False
        try:
            for key, value in records:
                if not self._producer.offer(value, key, batch.reporter(accepted), headers):
                    break
                accepted += 1
        except EnvironmentProblem as problem:
            log.warning("%s", problem)
            self._has_failed = failed = True
        batch.give_up(len(records) - accepted)
        if accepted == 0 and not failed:
            raise self._full()

    def _full(self) -> QueueFullError:
        return QueueFullError(
            f"{self.in_flight} events wait for Kafka already: it is away or too slow. Send again later."
        )

    def _settle(self, batch: _Batch) -> None:
        self.in_flight -= len(batch.acknowledged)
        if not batch.done.done():
            batch.done.set_result(None)

    def _serve(self) -> None:
        while not self._stop.is_set():
            self._producer.poll(0.1)
            if self._has_failed:
                log.warning("The Kafka client has failed and is replaced")
                failed, self._producer = self._producer, self._connect()
                self._has_failed = False
                failed.abandon()
        self._producer.abandon()


class _Batch:
    """The records of one request; reports come from the thread of acknowledgements."""

    def __init__(self, records: int, loop: asyncio.AbstractEventLoop, settle: Callable[[_Batch], None]) -> None:
        self.acknowledged = [False] * records
        self.done: asyncio.Future[None] = loop.create_future()
        self._missing = records
        self._lock = threading.Lock()
        self._loop = loop
        self._settle = settle

    def reporter(self, number: int) -> Callable[[bool], None]:
        def report(acknowledged: bool) -> None:
            self.acknowledged[number] = acknowledged
            self._count(1)

        return report

    def give_up(self, records: int) -> None:
        """So many at the end were not taken by the client: no report comes for them."""
        if records:
            self._count(records)

    def _count(self, reported: int) -> None:
        with self._lock:
            self._missing -= reported
            is_last = self._missing == 0
        if is_last:
            with suppress(RuntimeError):  # the loop has ended: nobody waits
                self._loop.call_soon_threadsafe(self._settle, self)
