"""How many records of the topic wait to be read, per partition."""

from __future__ import annotations

from collections.abc import Mapping

from confluent_kafka import Consumer, KafkaException, TopicPartition

from features.errors import EnvironmentProblem
from kafka.connection import librdkafka_options
from settings import KafkaSettings

TIMEOUT = 2.0


class Ends:
    """Asks Kafka for the end of each partition. One client throughout; not for several threads at a time."""

    def __init__(self, kafka: KafkaSettings, bootstrap_servers: str | None = None, topic: str | None = None) -> None:
        self._options = {**librdkafka_options(kafka), "group.id": "behaviour-page", "enable.auto.commit": "false"}
        self._options |= {"log_level": "0", "socket.connection.setup.timeout.ms": "2000"}
        if bootstrap_servers is not None:
            self._options["bootstrap.servers"] = bootstrap_servers
        self.topic = topic or kafka.topic
        self._client: Consumer | None = None

    def ask(self) -> dict[int, tuple[int, int]]:
        """First and next offset of each partition.

        Raises EnvironmentProblem, saying what to do, where Kafka does not answer or has no such topic.
        """
        where = self._options["bootstrap.servers"]
        try:
            if self._client is None:
                self._client = Consumer(self._options)
            partitions = self._client.list_topics(self.topic, timeout=TIMEOUT).topics[self.topic].partitions
            ends = {}
            for number in partitions:
                first, last = self._client.get_watermark_offsets(TopicPartition(self.topic, number), timeout=TIMEOUT)
                ends[number] = (first, last)
        except KafkaException:
            raise EnvironmentProblem(
                f"Kafka does not answer at {where}: see that it runs there (kafka.bootstrap_servers). "
                "make run starts one of its own; events sent meanwhile are refused, none that was taken is lost."
            ) from None
        if not ends:
            raise EnvironmentProblem(
                f"Kafka at {where} has no topic {self.topic}: make it, or name another with kafka.topic."
            )
        return ends

    def close(self) -> None:
        if self._client is not None:
            self._client.close()


def lag_of(ends: Mapping[int, tuple[int, int]], read: Mapping[int, int]) -> dict[int, int]:
    """Records per partition that were not read; all that Kafka holds of a partition that was never read."""
    return {number: max(0, last - max(first, read.get(number, first))) for number, (first, last) in ends.items()}
