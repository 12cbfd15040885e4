"""What no erasure reaches, for who has to see to it."""

from __future__ import annotations

from settings import Settings


def unreached(settings: Settings, *, rabbitmq: bool) -> list[str]:
    """What no job can reach, in sentences; ``rabbitmq``: whether its queue was looked through."""
    kafka = settings.kafka
    sentences = []
    if settings.maintenance.erase_from_kafka != "all":
        sentences.append(
            f"Topic {kafka.topic} keeps their records until its retention ends; ingest drops what it reads of them. "
            "To remove what it has read, for every reader: --set maintenance.erase_from_kafka=all."
        )
    known = {"kafka": f"readers of topic {kafka.alerts_topic}", "webhook": "the receiver of alerts.webhook"}
    receivers = [known.get(name, f"sink {name}") for name in settings.alerts.sink_names]
    if receivers:
        sentences.append(f"Not reached: alerts that {' and '.join(receivers)} have taken.")
    if not rabbitmq:
        sentences.append(
            f"Not looked at: queue {settings.rabbitmq.queue}.undeliverable of RabbitMQ, where bridge_rabbitmq puts "
            "messages that Kafka does not take. With --rabbitmq it is."
        )
    sentences.append("Not reached: copies of tables that you made, backups, and free text in which others name them.")
    return sentences
