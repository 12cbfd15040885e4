"""Sending events to Kafka: the helper an app imports.

::

    with EventProducer("127.0.0.1:9092", "user_behavior_topic") as producer:
        producer.send({"user_id": "123", "action": "click", "page": "/", "timestamp": datetime.now(UTC)})

An event is acknowledged by all replicas, is written once even where the client has to repeat it, and goes to the
partition of its user, so that a user's events keep their order.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from features.errors import EnvironmentProblem, UsageError
from features.events import DEFAULT_RULES, REASONS, ValidationRules
from features.validation import Rejection, validate_value
from kafka.connection import librdkafka_options
from settings import KafkaSettings

log = logging.getLogger(__name__)
log.addHandler(logging.NullHandler())

REQUIRED = ("user_id", "action", "page", "timestamp")
MAX_RECORD_BYTES = 1_000_000
"""Key and value of one record, together with its overhead; Kafka's own default limit."""

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode

Headers = Sequence[tuple[str, bytes]]
Delivered = Callable[[KafkaError | None, Message], None]
"""Called with what became of a record: the error, or None where all replicas have it."""


class EventProducer:
    """An idempotent producer keyed by user.

    ``send`` puts an event into a bounded queue that is sent in the background; where the broker does not keep up it
    waits for room, at most ``timeout`` seconds, and then raises. ``flush`` waits until everything is acknowledged.
    ``delivered`` and ``failed`` count the acknowledgements so far. ``options`` are further settings of librdkafka,
    ``rules`` the limits that ingest has (``ingest.*``), where they are others than by default.
    Not to be shared after a fork.

    Raises:
        UsageError: a setting is unknown to the client, or ingest would reject an event.
        EnvironmentProblem: the broker cannot be reached, or does not take events in time.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        topic: str,
        *,
        timeout: float = 30.0,
        queue_events: int = 100_000,
        options: Mapping[str, str] | None = None,
        rules: ValidationRules = DEFAULT_RULES,
    ) -> None:
        self.rules = rules
        self.bootstrap_servers = bootstrap_servers
        self.topic = topic
        self.timeout = timeout
        self.sent = 0
        self.delivered = 0
        self.failed = 0
        self._first_failure: str | None = None
        settings: dict[str, object] = {
            "linger.ms": 20,
            "compression.type": "lz4",
            "queue.buffering.max.messages": queue_events,
            "queue.buffering.max.kbytes": 131_072,
            "partitioner": "murmur2_random",  # as Java clients do: a user's partition does not depend on the language
            "message.timeout.ms": round(1000 * max(4 * timeout, 10.0)),  # later than we give up ourselves
            "message.max.bytes": MAX_RECORD_BYTES,
            "socket.nagle.disable": True,
            **(options or {}),
            "bootstrap.servers": bootstrap_servers,
            "enable.idempotence": True,
            "acks": "all",
        }
        try:
            self._producer = Producer(settings, logger=log)
        except KafkaException as error:
            raise UsageError(f"The Kafka client refuses its settings: {_reason(error)}.") from None

    def check(self) -> int:
        """The topic's number of partitions, asked of the broker: call it first to fail early and plainly."""
        try:
            topics = self._producer.list_topics(timeout=min(self.timeout, 5.0)).topics
        except KafkaException:
            raise EnvironmentProblem(
                f"No Kafka broker answers at {self.bootstrap_servers}. "
                "Start one (`make run` brings its own) or name yours with --bootstrap-servers."
            ) from None
        if self.topic not in topics:
            raise EnvironmentProblem(
                f"The broker at {self.bootstrap_servers} has no topic {self.topic!r}. "
                f"Create it: kafka-topics.sh --bootstrap-server {self.bootstrap_servers} --create --topic {self.topic}"
            )
        return len(topics[self.topic].partitions)

    def send(self, event: Mapping[str, object], *, headers: Headers | None = None) -> str:
        """Queue an event of the contract and return its ``event_id``.

        ``timestamp`` is an aware datetime or ISO-8601 text with an offset. A missing ``event_id`` is added, so that
        the same event sent twice by a retrying app can be told from two events: keep the returned id for a retry.

        Raises:
            UsageError: ingest would reject the event; the sentence says why, by the same validation.
        """
        complete = checked(event)
        value = _encode_event(complete)
        verdict = validate_value(value, self.rules, time.time_ns() // 1000, None)
        if isinstance(verdict, Rejection):
            raise UsageError(_rejected(verdict))
        self.send_raw(value, str(complete["user_id"]).encode(), headers=headers)
        return str(complete["event_id"])

    def send_raw(self, value: bytes, key: bytes | None, *, headers: Headers | None = None) -> None:
        """Queue a record as it is; ``key`` None lets the client choose a partition."""
        self._queue(value, key, headers, self._report)

    def send_and_report(
        self, value: bytes, key: bytes | None, report: Delivered, *, headers: Headers | None = None
    ) -> None:
        """As :meth:`send_raw`, reporting what became of this record, in :meth:`poll`, :meth:`flush` or a next send.

        A failure is then the caller's to handle: it is not counted and not raised here.
        """
        self._queue(value, key, headers, partial(self._report_to, report))

    def poll(self, seconds: float) -> None:
        """Serve acknowledgements, waiting at most this long for the first."""
        self._producer.poll(seconds)

    def offer(self, value: bytes, key: bytes, report: Callable[[bool], None], headers: Headers | None = None) -> bool:
        """Queue a record as it is without ever waiting; False where the queue is full.

        ``report`` is called once, by :meth:`poll` or :meth:`flush`, with whether the record was acknowledged.
        """

        def on_delivery(error: KafkaError | None, message: Message) -> None:
            self._report(error, message)
            report(error is None)

        try:
            self._producer.produce(self.topic, value, key, on_delivery=on_delivery, headers=list(headers or ()))
        except BufferError:
            return False
        except KafkaException as error:
            raise self._refused(error, len(value) + len(key)) from None
        self.sent += 1
        return True

    def flush(self, timeout: float | None = None) -> int:
        """Wait until every event is acknowledged; the number delivered in all.

        Raises EnvironmentProblem where events are left after ``timeout`` seconds (default: the producer's), or failed.
        """
        limit = self.timeout if timeout is None else timeout
        left, deadline, seen = len(self._producer), time.monotonic() + limit, -1
        while left and time.monotonic() < deadline:
            left = self._producer.flush(min(1.0, max(deadline - time.monotonic(), 0.0)))
            if self.delivered != seen and timeout is None:  # it moves: the limit is for standing still
                seen, deadline = self.delivered, time.monotonic() + limit
        if left:
            raise EnvironmentProblem(
                f"{left} events are not acknowledged by the broker at {self.bootstrap_servers} after {limit:g} s "
                f"({self.delivered} are). Look whether it is up and has room on its disk."
            )
        self._raise_failures()
        return self.delivered

    def close(self) -> None:
        """Flush what is queued; see :meth:`flush`."""
        self.flush()

    def abandon(self, seconds: float = 0.0) -> None:
        """Give up what is not acknowledged within this time; the broker may have some of it all the same."""
        self._producer.flush(seconds)
        self._producer.purge()
        self._producer.poll(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.flush()
        else:  # the error that is under way matters more than what is still queued
            self.abandon(1.0)

    def _report(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self.delivered += 1
            return
        self.failed += 1
        self._first_failure = self._first_failure or error.str()

    def _queue(self, value: bytes, key: bytes | None, headers: Headers | None, report: Delivered) -> None:
        while True:
            try:
                if headers:
                    self._producer.produce(self.topic, value, key, on_delivery=report, headers=list(headers))
                else:
                    self._producer.produce(self.topic, value, key, on_delivery=report)
                break
            except BufferError:
                self._wait_for_room()
            except KafkaException as error:
                raise self._refused(error, len(value) + len(key or b"")) from None
        self.sent += 1
        self._producer.poll(0)

    def _report_to(self, report: Delivered, error: KafkaError | None, message: Message) -> None:
        self.delivered += error is None
        report(error, message)

    def _wait_for_room(self) -> None:
        """Serve acknowledgements until the queue has room again; raise when none comes for ``timeout`` seconds."""
        deadline = time.monotonic() + self.timeout
        while time.monotonic() < deadline:
            if self._producer.poll(min(0.1, self.timeout)):
                self._raise_failures()
                return
        raise EnvironmentProblem(
            f"The broker at {self.bootstrap_servers} took no event for {self.timeout:g} s and {len(self._producer)} "
            "are waiting: it is away or too slow. Nothing more is queued until it answers."
        )

    def _raise_failures(self) -> None:
        if self.failed:
            raise EnvironmentProblem(
                f"{self.failed} events were not written by the broker at {self.bootstrap_servers} "
                f"(topic {self.topic}; {self.delivered} were): {self._first_failure}."
            )

    def _refused(self, error: KafkaException, size: int) -> EnvironmentProblem | UsageError:
        cause = error.args[0] if error.args else None
        if isinstance(cause, KafkaError) and cause.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            return UsageError(f"An event of {size} bytes is too large: Kafka takes {MAX_RECORD_BYTES} by default.")
        return EnvironmentProblem(
            f"The Kafka client at {self.bootstrap_servers} cannot take events for {self.topic}: {_reason(error)}."
        )


def producer_from(
    kafka: KafkaSettings,
    *,
    bootstrap_servers: str | None = None,
    topic: str | None = None,
    timeout: float = 30.0,
    queue_events: int = 100_000,
    options: Mapping[str, str] | None = None,
    rules: ValidationRules = DEFAULT_RULES,
) -> EventProducer:
    """A producer for the broker and topic of the settings, or for these; ``options`` win over those of the settings."""
    return EventProducer(
        bootstrap_servers or kafka.bootstrap_servers,
        topic or kafka.topic,
        timeout=timeout,
        queue_events=queue_events,
        options={**librdkafka_options(kafka), **(options or {})},
        rules=rules,
    )


def checked(event: Mapping[str, object]) -> dict[str, object]:
    """The event with ``event_id`` and its times as text; raises UsageError with what is missing or wrong."""
    missing = [name for name in REQUIRED if event.get(name) is None]
    if missing:
        raise UsageError(f"An event needs {', '.join(REQUIRED)}; this one lacks {' and '.join(missing)}.")
    for name in REQUIRED[:3]:
        if not isinstance(event[name], str) or not event[name]:
            raise UsageError(f"An event's {name} must be text that is not empty; found {event[name]!r}.")
    complete = {**event, "timestamp": _time(event["timestamp"], "timestamp")}
    if event.get("sent_at") is not None:
        complete["sent_at"] = _time(event["sent_at"], "sent_at")
    if event.get("event_id") is None:
        complete["event_id"] = str(uuid.uuid4())
    return complete


def _time(value: object, name: str) -> str:
    try:
        when = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        raise UsageError(f"An event's {name} must be a time such as 2024-10-05T12:00:00Z; found {value!r}.") from None
    if when.tzinfo is None:
        raise UsageError(f"An event's {name} needs an offset, such as Z for UTC; found {value!s}.")
    return value if isinstance(value, str) else when.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _rejected(verdict: Rejection) -> str:
    where = f" ({verdict.field}: {verdict.detail})" if verdict.field else f" ({verdict.detail})"
    return f"Ingest would reject this event as {verdict.reason}{where}. {REASONS[verdict.reason]}"


def _encode_event(event: Mapping[str, object]) -> bytes:
    try:
        return _encode(event).encode()
    except (TypeError, ValueError, RecursionError) as error:  # UnicodeEncodeError is a ValueError
        raise UsageError(f"The event cannot be written as JSON: {error}.") from None


def _reason(error: KafkaException) -> str:
    cause = error.args[0] if error.args else error
    return cause.str() if isinstance(cause, KafkaError) else str(cause)
