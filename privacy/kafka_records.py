"""What Kafka holds of erased people, removed as far as Kafka can: from a partition's beginning on, not one by one.

Whoever reads a topic may not have read all of it: nothing is deleted that a consumer group still has to read.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from features.errors import EnvironmentProblem
from features.ledger import Partition
from kafka.connection import librdkafka_options
from privacy.mentions import People
from settings import KafkaSettings

log = logging.getLogger(__name__)
log.addHandler(logging.NullHandler())

ANSWER_SECONDS = 10
STILL_SECONDS = 30.0
"""A broker that gives nothing more for so long is given up."""


@dataclass
class KafkaErasure:
    """Removes people's alerts, and records that were read, from the topics.

    Raises:
        EnvironmentProblem: by each method, where no broker answers or it refuses.
    """

    kafka: KafkaSettings

    def alerts(self, people: People) -> str:
        """Remove the people's alerts from ``kafka.alerts_topic``; returns in a sentence what became of them.

        Where the topic is compacted only, a record without a value follows under each person's key: the broker drops
        what stands before it. Else all is deleted that every group has read. Other people's alerts go with them: table
        alerts has them. To stop at the last alert of these people would leave their bytes: the broker deletes a file
        only when nothing in it counts any more, and the next alert may be in the same one.
        """
        topic = self.kafka.alerts_topic
        try:
            if topic not in self._admin.list_topics(timeout=ANSWER_SECONDS).topics:
                return f"Kafka has no topic {topic}."
            last, keys, count = self._last_of(topic, people)
            if not count:
                return f"Topic {topic} held no alert of them."
            if "delete" not in self._policy(topic):
                self._bury(topic, keys)
                return (
                    f"Topic {topic} is compacted: {len(keys):,} records without a value were sent, and the broker "
                    f"drops the {count:,} alerts before them when it compacts."
                )
            needed = {(topic, number): offset + 1 for number, offset in last.items()}
            held = self._delete(needed, self._ends(needed))
            return (
                f"{count:,} alerts were removed from topic {topic}."
                if not held
                else (
                    f"Topic {topic} still holds alerts of them, which {held} has not read. Let it read, or delete the "
                    "group, and call erase_user again with the same ids."
                )
            )
        except KafkaException as error:
            raise self._silent(error) from None

    def records(self, until: Mapping[Partition, int]) -> str:
        """Remove all records before these offsets, which ingest has read; returns in a sentence what became of them."""
        try:
            needed = {place: offset for place, offset in until.items() if offset > 0}
            held = self._delete(needed, needed)
        except KafkaException as error:
            raise self._silent(error) from None
        topics = ", ".join(sorted({topic for topic, _ in until})) or self.kafka.topic
        kept = f", but for what {held} has not read" if held else ""
        return f"Records that ingest_events has read were removed from topic {topics}{kept}."

    # --- inside ---

    @property
    def _options(self) -> dict[str, str]:
        return {**librdkafka_options(self.kafka), "socket.timeout.ms": str(1000 * ANSWER_SECONDS), "log_level": "0"}

    @cached_property
    def _admin(self) -> AdminClient:
        """One for all: answers to a client that is gone never come."""
        return AdminClient(self._options, logger=log)

    def _policy(self, topic: str) -> str:
        resource = ConfigResource(ResourceType.TOPIC, topic)
        config = self._admin.describe_configs([resource])[resource].result(ANSWER_SECONDS)
        return str(config["cleanup.policy"].value)

    def _bury(self, topic: str, keys: set[bytes]) -> None:
        """Send a record without a value for each key, to the partition in which the key's other records are."""
        producer = Producer({**self._options, "partitioner": "murmur2_random", "enable.idempotence": True}, logger=log)
        for key in sorted(keys):
            producer.produce(topic, None, key)
            producer.poll(0)
        if left := producer.flush(STILL_SECONDS):
            raise EnvironmentProblem(f"Kafka did not take {left:,} of {len(keys):,} records within {STILL_SECONDS} s.")

    def _last_of(self, topic: str, people: People) -> tuple[dict[int, int], set[bytes], int]:
        """By partition the offset of the last alert with the key of one of the people; their keys; how many."""
        last: dict[int, int] = {}
        keys: set[bytes] = set()
        count = 0
        for number, offset, key in self._keys_of(topic):
            if key.decode("utf-8", "replace") in people.ids:
                last[number], count = offset, count + 1
                keys.add(key)
        return last, keys, count

    def _keys_of(self, topic: str) -> Iterator[tuple[int, int, bytes]]:
        """Partition, offset and key of all records with a value that are there now, of aborted transactions, too."""
        options = {**self._options, "group.id": "erase_user", "enable.auto.commit": "false"}
        options["isolation.level"] = "read_uncommitted"
        with closing(Consumer(options, logger=log)) as consumer:
            numbers = consumer.list_topics(topic, timeout=ANSWER_SECONDS).topics[topic].partitions
            ends = {
                n: consumer.get_watermark_offsets(TopicPartition(topic, n), timeout=ANSWER_SECONDS) for n in numbers
            }
            left = {number: end for number, (first, end) in ends.items() if end > first}
            consumer.assign([TopicPartition(topic, number, ends[number][0]) for number in left])
            heard = time.monotonic()
            while left:
                for one in consumer.consume(10_000, timeout=0.5):
                    if one.error() is not None:
                        raise KafkaException(one.error())
                    heard = time.monotonic()
                    number, offset, key = one.partition(), one.offset(), one.key()
                    if number is not None and offset is not None and key is not None and one.value() is not None:
                        yield number, offset, key if isinstance(key, bytes) else key.encode()
                places = consumer.position([TopicPartition(topic, number) for number in left])
                left = {one.partition: left[one.partition] for one in places if one.offset < left[one.partition]}
                if time.monotonic() - heard > STILL_SECONDS:
                    raise EnvironmentProblem(f"Kafka gave no more of topic {topic} within {STILL_SECONDS:.0f} s.")

    def _ends(self, places: Iterable[Partition]) -> dict[Partition, int]:
        """Where these partitions end now."""
        with closing(Consumer({**self._options, "group.id": "erase_user"}, logger=log)) as consumer:
            ends = {
                (topic, number): consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=ANSWER_SECONDS)
                for topic, number in places
            }
        return {place: end for place, (_, end) in ends.items()}

    def _delete(self, needed: Mapping[Partition, int], wanted: Mapping[Partition, int]) -> str | None:
        """Delete records up to the ``wanted`` offsets, as far as all groups have read.

        Returns:
            The groups that have not read up to the ``needed`` ones, if any.
        """
        behind = dict(wanted)
        slow = set()
        for group, offsets in self._groups().items():
            for place, offset in offsets.items():
                if place in behind and 0 <= offset < behind[place]:
                    behind[place] = offset
                if place in needed and 0 <= offset < needed[place]:
                    slow.add(group)
        partitions = [TopicPartition(topic, number, offset) for (topic, number), offset in behind.items() if offset > 0]
        if partitions:
            for answer in self._admin.delete_records(partitions, operation_timeout=ANSWER_SECONDS).values():
                answer.result(2 * ANSWER_SECONDS)
        return f"group {' and '.join(sorted(slow))}" if slow else None

    def _groups(self) -> dict[str, dict[Partition, int]]:
        """How far each consumer group has read."""
        admin = self._admin
        listed = admin.list_consumer_groups(request_timeout=ANSWER_SECONDS).result(2 * ANSWER_SECONDS)
        offsets = {}
        for group in sorted(one.group_id for one in listed.valid):
            answer = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group].result(
                2 * ANSWER_SECONDS
            )
            offsets[group] = {(one.topic, one.partition): one.offset for one in answer.topic_partitions}
        return offsets

    def _silent(self, error: KafkaException) -> EnvironmentProblem:
        cause = error.args[0]
        why = cause.str() if isinstance(cause, KafkaError) else cause
        return EnvironmentProblem(
            f"Kafka at {self.kafka.bootstrap_servers} could not be asked to delete ({str(why).rstrip('.')}): see that "
            "it runs there (kafka.bootstrap_servers) and lets this user describe, read and delete."
        )
