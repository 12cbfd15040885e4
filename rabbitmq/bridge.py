"""The bridge from a RabbitMQ queue to a Kafka topic: every message at least once and byte for byte."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from confluent_kafka import KafkaError, Message
from pika import BasicProperties, BlockingConnection
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError
from pika.spec import Basic
from tenacity import RetryCallState, Retrying, retry_if_exception, wait_exponential
from tenacity.nap import sleep_using_event

from features.errors import EnvironmentProblem, UsageError
from kafka.producer import EventProducer
from rabbitmq import amqp
from replay.formats.json_lines import JsonLinesReader
from settings import RabbitmqSettings

log = logging.getLogger(__name__)

IDLE_SECONDS = 0.2
"""How long a quiet queue is listened to before anything else is looked at, Ctrl-C among it."""
POLL_SECONDS = 0.02
FLUSH_SECONDS = 10.0
"""How long Kafka may take for what is under way when the bridge is stopped; the rest stays in the queue."""
SILENCE_SECONDS = 10.0
"""When Kafka has confirmed nothing for so long, it is said."""
WAIT_FOR_EVER = {"message.timeout.ms": "0"}
"""A Kafka that is away is waited for: giving up records would only have them delivered, and sent, once more."""

NEVER = {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD}
"""Answers that are about the record itself. All others are about Kafka, and pass."""


@dataclass(frozen=True)
class Moved:
    """``moved`` messages are in Kafka, ``undeliverable`` in the other queue; both have left the queue."""

    moved: int
    undeliverable: int
    seconds: float


@dataclass(slots=True, eq=False)
class Delivery:
    """A message that RabbitMQ has given us and that is not acknowledged."""

    tag: int
    routing_key: str
    properties: BasicProperties
    body: bytes
    settled: bool = False
    refused: str | None = None


class Bridge:
    """Moves a queue until ``stop`` is set or, ``once``, until it is empty; waits for servers that are away.

    Raises:
        ConfigurationError: by :meth:`run`, where RabbitMQ refuses the user or has no such queue.
        EnvironmentProblem: by :meth:`run`, where a server does not answer at the start; later it is waited for.
    """

    def __init__(
        self,
        settings: RabbitmqSettings,
        new_producer: Callable[[], EventProducer],
        *,
        once: bool = False,
        stop: threading.Event | None = None,
    ) -> None:
        self.settings = settings
        self.new_producer = new_producer
        self.once = once
        self.stop = stop or threading.Event()
        self.moved = self.undeliverable = 0
        self._opened = False

    def run(self) -> Moved:
        began = time.monotonic()
        while not self._patiently(self._session):
            self.stop.wait(1.0)  # it broke off after it had moved something: begin again, with a short wait
        return Moved(self.moved, self.undeliverable, time.monotonic() - began)

    def _patiently(self, session: Callable[[], bool]) -> bool:
        retrying = Retrying(
            retry=retry_if_exception(lambda error: self._opened and isinstance(error, EnvironmentProblem)),
            wait=wait_exponential(multiplier=0.5, max=15),
            sleep=sleep_using_event(self.stop),
            before_sleep=_say,
            reraise=True,
        )
        return retrying(session)

    def _session(self) -> bool:
        """Work with one connection to each server. True: the bridge is done; False: it broke off on its way."""
        if self.stop.is_set():
            return True
        before = self.moved + self.undeliverable
        try:
            connection = amqp.connect(self.settings)
            producer = self.new_producer()
            try:
                producer.check()
                session = _Session(self, connection, producer)
                self._opened = True
                session.work()
            finally:
                producer.abandon()
                with suppress(AMQPError):
                    connection.close()
        except (AMQPError, OSError) as error:
            trouble = amqp.problem(error, self.settings)
        except EnvironmentProblem as error:
            trouble = error
        else:
            return True
        if isinstance(trouble, EnvironmentProblem) and self.moved + self.undeliverable > before:
            log.warning("%s Going on when it answers.", trouble)
            return False
        raise trouble


class _Session:
    """One connection to RabbitMQ with one Kafka producer. It ends with either, and then RabbitMQ, which has no
    acknowledgement for what was under way, delivers that again to the next.
    """

    def __init__(self, bridge: Bridge, connection: BlockingConnection, producer: EventProducer) -> None:
        self.bridge = bridge
        self.connection = connection
        self.producer = producer
        self.queue = bridge.settings.queue
        self.undeliverable = amqp.Undeliverable(connection, self.queue)
        self.reader = JsonLinesReader()
        self.waiting: deque[Delivery] = deque()  # in the order of their tags
        self.refused: list[Delivery] = []
        self.trouble: str | None = None
        self.heard, self.said = time.monotonic(), False
        self.channel = connection.channel()
        self.channel.queue_declare(self.queue, passive=True)
        self.channel.basic_qos(prefetch_count=bridge.settings.prefetch)
        self.channel.add_on_cancel_callback(self._on_cancel)
        self.consumer = self.channel.basic_consume(self.queue, self._on_message)

    def work(self) -> None:
        """Until the bridge is stopped or, once, the queue is empty."""
        while not self.bridge.stop.is_set():
            self.connection.process_data_events(0 if self.waiting else IDLE_SECONDS)
            if self.waiting:
                self.producer.poll(POLL_SECONDS)
            self._settle()
            if self.bridge.once and not self.waiting and self._is_empty():
                return
        self._leave()

    # --- from RabbitMQ to Kafka -------------------------------------------------------------------------------------

    def _on_message(
        self, _: BlockingChannel, method: Basic.Deliver | Basic.GetOk, properties: BasicProperties, body: bytes
    ) -> None:
        if not self.waiting:
            self.heard = time.monotonic()
        delivery = Delivery(method.delivery_tag or 0, method.routing_key or "", properties, body)
        self.waiting.append(delivery)
        self._send(delivery, self._on_outcome)

    def _send(self, delivery: Delivery, outcome: Callable[[Delivery, KafkaError | None, Message], None]) -> None:
        key = self.reader.record(delivery.body).key
        headers = amqp.text_headers(delivery.routing_key, delivery.properties)
        try:
            self.producer.send_and_report(delivery.body, key, partial(outcome, delivery), headers=headers)
        except UsageError as error:  # larger than the client may send
            delivery.refused = str(error)
            self.refused.append(delivery)

    def _on_outcome(self, delivery: Delivery, error: KafkaError | None, _: Message) -> None:
        if error is None:
            delivery.settled = True
        elif error.code() in NEVER:
            self.refused.append(delivery)
        else:
            self.trouble = self.trouble or error.str()

    def _on_outcome_alone(self, delivery: Delivery, error: KafkaError | None, message: Message) -> None:
        if error is not None and error.code() in NEVER:
            delivery.refused = f"Kafka refuses it: {error.str()}"
        else:
            self._on_outcome(delivery, error, message)

    def _on_cancel(self, _: object) -> None:
        self.trouble = f"RabbitMQ ended the delivery from {self.queue}"

    # --- from Kafka back to RabbitMQ --------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Do what the answers so far ask for."""
        self._raise_trouble()
        refused, self.refused = self.refused, []
        for delivery in refused:
            self._set_aside(delivery)
        self._acknowledge()
        if self.waiting and not self.said and time.monotonic() - self.heard > SILENCE_SECONDS:
            self.said = True
            log.warning("Kafka has confirmed nothing for %.0f s; %d messages wait", SILENCE_SECONDS, len(self.waiting))

    def _raise_trouble(self) -> None:
        if self.trouble:
            raise EnvironmentProblem(f"The bridge broke off: {self.trouble.rstrip('.')}.")

    def _set_aside(self, delivery: Delivery) -> None:
        """Into the other queue, if it is this message that Kafka refuses: the answer is about a whole batch."""
        if delivery.refused is None:
            self.producer.flush()
            self._send(delivery, self._on_outcome_alone)
            self.producer.flush()
            self._raise_trouble()
            if delivery.settled:
                return
        reason = delivery.refused or "Kafka refuses it"
        self.undeliverable.put(delivery.body, delivery.properties, reason)
        delivery.refused, delivery.settled = reason, True
        log.warning("A message of %d bytes goes to %s: %s", len(delivery.body), self.undeliverable.name, reason)

    def _acknowledge(self) -> None:
        """One answer for all messages up to the first that is not settled."""
        last, moved, undeliverable = 0, 0, 0
        while self.waiting and self.waiting[0].settled:
            delivery = self.waiting.popleft()
            last = delivery.tag
            moved, undeliverable = moved + (delivery.refused is None), undeliverable + (delivery.refused is not None)
        if last:
            self.channel.basic_ack(last, multiple=True)
            self.bridge.moved += moved
            self.bridge.undeliverable += undeliverable
            if self.said:
                log.info("Kafka confirms again")
            self.heard, self.said = time.monotonic(), False

    # --- ending -----------------------------------------------------------------------------------------------------

    def _is_empty(self) -> bool:
        """Asked for sure: a message may be on its way to us, and it goes back when the delivery is ended."""
        if self.channel.queue_declare(self.queue, passive=True).method.message_count:
            return False
        self.channel.basic_cancel(self.consumer)
        method, properties, body = self.channel.basic_get(self.queue)
        if method is None or properties is None or body is None:
            return True
        self.consumer = self.channel.basic_consume(self.queue, self._on_message)
        self._on_message(self.channel, method, properties, body)
        return False

    def _leave(self) -> None:
        """No more messages; Kafka gets some time for those that are under way."""
        self.channel.basic_cancel(self.consumer)
        with suppress(EnvironmentProblem):
            self.producer.flush(FLUSH_SECONDS)
        self._settle()
        if self.waiting:
            log.warning("%d messages are not confirmed by Kafka: they stay in %s", len(self.waiting), self.queue)


def _say(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.warning("%s Trying again in %.1f s.", error, state.upcoming_sleep)
