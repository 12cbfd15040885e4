"""Move a RabbitMQ queue into the Kafka topic, every message at least once and byte for byte.

Reads the queue rabbitmq.queue; writes to the topic kafka.topic. A message leaves RabbitMQ when all replicas of Kafka
have it: killed at any moment, nothing is lost, and what is sent a second time has the same ``event_id``, by which
``ingest_events`` knows it. What cannot be understood is moved all the same and rejected there with a reason; what Kafka
never takes, a message too large for it, goes to the queue QUEUE.undeliverable.
"""

from __future__ import annotations

from typing import Annotated

import typer

from kafka.producer import EventProducer, producer_from
from rabbitmq.bridge import WAIT_FOR_EVER, Bridge
from settings import cli, load_settings
from telemetry import logs


def main(
    env: cli.Environment = "local",
    overrides: cli.Overrides = None,
    once: cli.Once = False,
    bootstrap_servers: Annotated[str | None, typer.Option(help="Broker, instead of kafka.bootstrap_servers.")] = None,
    topic: Annotated[str | None, typer.Option(help="Topic, instead of kafka.topic.")] = None,
) -> None:
    """Move a RabbitMQ queue into the Kafka topic. Reads the queue rabbitmq.queue; writes to the topic kafka.topic."""
    settings = load_settings(env, overrides or ())
    logs.to_terminal()
    stop = cli.stop_signal()

    def new_producer() -> EventProducer:
        return producer_from(settings.kafka, bootstrap_servers=bootstrap_servers, topic=topic, options=WAIT_FOR_EVER)

    done = Bridge(settings.rabbitmq, new_producer, once=once, stop=stop).run()
    queue = settings.rabbitmq.queue
    aside = f", {done.undeliverable} put into {queue}.undeliverable" if done.undeliverable else ""
    typer.echo(
        f"{done.moved} messages moved from {queue} to {topic or settings.kafka.topic}{aside} in {done.seconds:.1f} s."
    )


if __name__ == "__main__":
    cli.run(main)
