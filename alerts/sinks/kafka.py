"""Alerts to a topic of Kafka."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from alerts.sinks.base import AlertSink, Row, alert_json
from features.errors import BehaviorError, EnvironmentProblem
from kafka.producer import EventProducer, producer_from
from settings import Settings


class KafkaSink(AlertSink):
    """To ``kafka.alerts_topic``, keyed by user, from the first alert on."""

    from_start = True

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._producer: EventProducer | None = None

    def send(self, rows: Sequence[Row]) -> int:
        try:
            if self._producer is None:
                kafka = self.settings.kafka
                self._producer = producer_from(kafka, topic=kafka.alerts_topic, timeout=10.0)
                self._producer.check()
            for row in rows:
                self._producer.send_raw(alert_json(row), str(row["user_id"]).encode(errors="replace"))
            self._producer.flush()
        except BehaviorError as error:
            if self._producer is not None:
                with suppress(BehaviorError):
                    self._producer.abandon()
            self._producer = None  # a fresh one: the old one keeps counting what has failed
            raise EnvironmentProblem(str(error)) from error
        return 0
