"""Alerts to a topic of Kafka."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress

from alerts.sinks.base import AlertSink, Row, alert_json
from features.errors import BehaviorError, EnvironmentProblem
from kafka.producer import EventProducer, producer_from
from settings import KafkaSettings, Settings


class AlertTopic:
    """Writes to a topic; connects when there is something to write."""

    def __init__(self, kafka: KafkaSettings, name: str) -> None:
        self._kafka, self._name = kafka, name
        self._producer: EventProducer | None = None

    def send(self, records: Iterable[tuple[Row, bytes]]) -> None:
        """Write a text for each alert, keyed by its user, and wait until Kafka has them all.

        Raises:
            EnvironmentProblem: it has not.
        """
        try:
            if self._producer is None:
                self._producer = producer_from(self._kafka, topic=self._name, timeout=10.0)
                self._producer.check()
            for row, text in records:
                self._producer.send_raw(text, str(row["user_id"]).encode(errors="replace"))
            self._producer.flush()
        except BehaviorError as error:
            if self._producer is not None:
                with suppress(BehaviorError):
                    self._producer.abandon()
            self._producer = None  # a fresh one: the old one keeps counting what has failed
            raise EnvironmentProblem(str(error)) from error


class KafkaSink(AlertSink):
    """To ``kafka.alerts_topic``, keyed by user, from the first alert on."""

    from_start = True

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._topic = AlertTopic(settings.kafka, settings.kafka.alerts_topic)

    def send(self, rows: Sequence[Row]) -> int:
        self._topic.send((row, alert_json(row)) for row in rows)
        return 0
