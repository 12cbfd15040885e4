"""RabbitMQ: the connection, what a message says besides its body, and the queue for what Kafka never takes."""

from __future__ import annotations

import json
import ssl
import struct
from datetime import datetime
from typing import Any

import pika.data
from pika import BasicProperties, BlockingConnection, ConnectionParameters, PlainCredentials, SSLOptions
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelClosed,
    ChannelClosedByBroker,
    ConnectionClosed,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

from features.errors import BehaviorError, ConfigurationError, EnvironmentProblem
from privacy.mentions import People
from settings import RabbitmqSettings

ACCESS_REFUSED, NOT_FOUND, NOT_ALLOWED = 403, 404, 530
PASSING = ("home node", "process is stopped", "timeout")
"""Words of a NOT_FOUND by which a server says that the queue exists and is not there just now."""

KEPT = ("message_id", "app_id", "timestamp", "content_type", "content_encoding", "correlation_id", "type")
WHY = "x-undeliverable-reason"
ROUTING = ("CC", "BCC")
"""Headers by which the server would send a copy on to other queues, back into the first one among them."""

_NUMBERS = {b"T": ">Q", b"d": ">d", b"f": ">f"}
_decode = pika.data.decode_value


def _decode_value(encoded: bytes, offset: int) -> tuple[Any, int]:
    """As pika does, except for three kinds that it cuts or fails at, and with it the connection, again and again.

    Senders write milliseconds where a time counts seconds, which is a year that datetime does not have: a time stays
    the number that it is. A fraction stays a fraction.
    """
    layout = _NUMBERS.get(encoded[offset : offset + 1])
    if layout is None:
        return _decode(encoded, offset)
    return struct.unpack_from(layout, encoded, offset + 1)[0], offset + 1 + struct.calcsize(layout)


pika.data.decode_value = _decode_value


def connect(settings: RabbitmqSettings) -> BlockingConnection:
    """A connection as the settings say.

    Raises:
        ConfigurationError: there is no password, or the server refuses the user or the virtual host.
        EnvironmentProblem: no server answers.
    """
    if settings.password is None:
        raise ConfigurationError(
            f"There is no password for RabbitMQ's user {settings.username!r}: set BEHAVIOR_RABBITMQ__PASSWORD in the"
            " environment."
        )
    tls = SSLOptions(ssl.create_default_context(), settings.host) if settings.tls else None
    parameters = ConnectionParameters(
        host=settings.host,
        port=settings.port,
        virtual_host=settings.virtual_host,
        credentials=PlainCredentials(settings.username, settings.password.get_secret_value()),
        ssl_options=tls,
        heartbeat=60,
        socket_timeout=10.0,
        stack_timeout=15.0,
        blocked_connection_timeout=60.0,
        client_properties={"connection_name": "bridge_rabbitmq"},
    )
    try:
        return BlockingConnection(parameters)
    except (AMQPError, OSError) as error:
        raise problem(error, settings) from None


def problem(error: Exception, settings: RabbitmqSettings) -> BehaviorError:
    """The sentence for what RabbitMQ or its client says: ConfigurationError where waiting would not help."""
    server, user, queue = f"RabbitMQ at {settings.host}:{settings.port}", settings.username, settings.queue
    closed = error if isinstance(error, (ConnectionClosed, ChannelClosed)) else None
    code, text = (closed.reply_code, closed.reply_text) if closed else (0, _words(error))
    if isinstance(error, ChannelClosed):
        if code == NOT_FOUND and not any(word in text for word in PASSING):
            return ConfigurationError(
                f"{server} has no queue {queue!r} in its virtual host {settings.virtual_host!r}: create it, or name"
                " yours with rabbitmq.queue."
            )
        if code == ACCESS_REFUSED:
            return ConfigurationError(f"{server} refuses the user {user!r}: {text}. Give the right to it.")
    elif isinstance(error, (AuthenticationError, ProbableAuthenticationError)) or code == ACCESS_REFUSED:
        return ConfigurationError(
            f"{server} refuses the user {user!r}: rabbitmq.username or BEHAVIOR_RABBITMQ__PASSWORD is wrong."
        )
    elif isinstance(error, ProbableAccessDeniedError) or code == NOT_ALLOWED:
        return ConfigurationError(
            f"{server} has no virtual host {settings.virtual_host!r} that the user {user!r} may enter: see"
            " rabbitmq.virtual_host."
        )
    elif isinstance(error, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in text:
        return ConfigurationError(
            f"The certificate of {server} is not trusted: {text}. SSL_CERT_FILE may name its authority."
        )
    return EnvironmentProblem(f"{server} does not answer ({text}): see that it runs, or set rabbitmq.host and .port.")


def text_headers(routing_key: str, properties: BasicProperties) -> list[tuple[str, bytes]]:
    """Kafka headers for what comes with a message: ``amqp_NAME`` for properties, ``amqp_header_NAME`` for headers."""
    kept = [(f"amqp_{name}", getattr(properties, name)) for name in KEPT]
    named = [("amqp_routing_key", _text(routing_key))]
    named += [(name, _text(value)) for name, value in kept if value is not None]
    for name, value in (properties.headers or {}).items():  # pika gives bytes for a name that is not UTF-8
        text = _text(name).decode(errors="replace").replace("\0", "�")
        named.append((f"amqp_header_{text}", _text(value)))
    return named


class Undeliverable:
    """The durable queue ``QUEUE.undeliverable``; made when it is first needed.

    ``put`` returns when the server has the message for good.
    """

    def __init__(self, connection: BlockingConnection, queue: str) -> None:
        self.connection = connection
        self.name = f"{queue}.undeliverable"
        self._channel: BlockingChannel | None = None

    def put(self, body: bytes, properties: BasicProperties, reason: str) -> None:
        """Publish the message with its properties and the header ``x-undeliverable-reason``.

        What would let the server refuse it, drop it or send it elsewhere is kept under another name.
        """
        if self._channel is None:
            self._channel = self._opened()
        headers = dict(properties.headers or {})
        for name in ROUTING:
            if name in headers:
                headers[f"x-undeliverable-{name}"] = headers.pop(name)
        for name in ("user_id", "expiration"):
            if getattr(properties, name) is not None:
                headers[f"x-undeliverable-{name}"] = getattr(properties, name)
        kept = {name: getattr(properties, name) for name in (*KEPT, "priority", "reply_to")}
        marked = BasicProperties(**kept, headers={**headers, WHY: reason}, delivery_mode=2)
        self._channel.basic_publish("", self.name, body, marked, mandatory=True)

    def _opened(self) -> BlockingChannel:
        """A channel with confirms. A queue that is there is taken as it is, of whatever kind."""
        channel = self.connection.channel()
        try:
            channel.queue_declare(self.name, passive=True)
        except ChannelClosedByBroker as error:
            if error.reply_code != NOT_FOUND:
                raise
            channel = self.connection.channel()
            channel.queue_declare(self.name, durable=True)
        channel.confirm_delivery()
        return channel


def forget(settings: RabbitmqSettings, people: People) -> str:
    """Remove messages that name one of ``people`` from ``QUEUE.undeliverable``; what became of it, in a sentence.

    Other messages are only looked at: when the connection ends, RabbitMQ has them where they were.

    Raises:
        BehaviorError: the server does not answer, or refuses.
    """
    name = f"{settings.queue}.undeliverable"
    try:
        with connect(settings) as connection:
            channel = connection.channel()
            removed = 0
            for _ in range(channel.queue_declare(name, passive=True).method.message_count):
                method, properties, body = channel.basic_get(name)
                if method is None or properties is None:
                    break
                sent = [value for _, value in text_headers(method.routing_key or "", properties)]
                if people.named_in([body, *sent]).any():
                    channel.basic_ack(method.delivery_tag or 0)
                    removed += 1
        return f"{removed:,} messages were removed from queue {name}."
    except ChannelClosedByBroker as error:
        if error.reply_code == NOT_FOUND:
            return f"RabbitMQ has no queue {name}."
        raise problem(error, settings) from None
    except (AMQPError, OSError) as error:
        raise problem(error, settings) from None


def _text(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode(errors="replace")
    return json.dumps(value, ensure_ascii=False, default=_plain).encode(errors="replace")


def _plain(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _words(error: Exception) -> str:
    """What a library says, or at least what it calls it; pika wraps the cause of a failed connection."""
    while error.args and isinstance(error.args[0], Exception):
        error = error.args[0]
    inner = getattr(error, "exception", None)
    if isinstance(inner, Exception):
        return _words(inner)
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(said).rstrip(".")
