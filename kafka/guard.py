"""What Spark does not notice of its Kafka source: topics made again, and offsets that are gone.

In the checkpoint of the reading query, in ``topics.json``, stands the id of each topic. A topic that was deleted and
made again has another one; its offsets begin anew, and Spark alone would skip as many records as it had read before.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from features.errors import DataLossError, EnvironmentProblem
from features.ledger import Partition, Range
from features.tables import LEDGER_GAPS
from kafka.connection import librdkafka_options
from lake import hadoop_files
from lake.hadoop_files import HadoopFolder
from lake.spark_tables import Lake
from settings import Settings
from streams.checkpoints import Checkpoint
from streams.queries import Batch, checkpoint

log = logging.getLogger(__name__)
log.addHandler(logging.NullHandler())

ANSWER_SECONDS = 20
AGAIN_SECONDS = 10.0
"""Seconds after which the ids of the topics are asked for again while the stream runs."""
NO_ID = "AAAAAAAAAAAAAAAAAAAAAA"
"""What a broker that is too old to have ids of topics gives."""

Offsets = dict[Partition, int]


@dataclass
class KafkaGuard:
    """Looks after the Kafka source of ``query``."""

    spark: SparkSession
    lake: Lake
    settings: Settings
    query: str
    _admin: AdminClient | None = field(default=None, init=False)
    _said: list[str] = field(default_factory=list, init=False)
    _checked_at: float = field(default=float("-inf"), init=False)

    @property
    def folder(self) -> str:
        return checkpoint(self.settings, self.query)

    @property
    def _checkpoint(self) -> Checkpoint:
        return Checkpoint(HadoopFolder(self.spark, self.folder))

    def check(self) -> None:
        """Before a start, and after a failure.

        Raises:
            EnvironmentProblem: no broker answers, or it has no such topic.
            DataLossError: a topic was made again; or offsets that were not read are gone, unless
                ``kafka.fail_on_data_loss`` is off.
        """
        self._check_topics()
        gaps = self.gaps(self.read_until())
        if gaps and self.settings.kafka.fail_on_data_loss:
            raise DataLossError(_sentence(gaps))

    def watch(self, batch: Batch) -> None:
        """For each micro-batch, when its records have been read and before it counts as finished.

        Offsets that are gone are noted in table ledger_gaps where the stream is to go on without them. More may be
        noted than is lost, where the broker deletes after we have read; the ledger counts only offsets without a row.

        Raises:
            DataLossError: a topic was made again while the stream was running.
        """
        if time.monotonic() - self._checked_at > AGAIN_SECONDS:
            self._check_topics()
        if self.settings.kafka.fail_on_data_loss:
            return
        begin = self._checkpoint.kafka_ends(batch.number - 1) if batch.number else self._first_offsets()
        gaps = {
            place: Range(gap.first, min(gap.until, end))
            for place, gap in self.gaps(begin).items()
            if (end := self._checkpoint.kafka_ends(batch.number).get(place, 0)) > gap.first
        }
        if gaps:
            self._note(gaps, batch)

    def gaps(self, begin: Offsets) -> dict[Partition, Range]:
        """Per partition the offsets from ``begin`` on that the broker has no more; of one new to it, from 0 on."""
        if not begin:
            return {}
        options = {**librdkafka_options(self.settings.kafka), "group.id": self.query, "enable.auto.commit": "false"}
        with closing(Consumer(options, logger=log)) as consumer:
            try:
                ranges = {
                    (topic, number): Range(
                        begin.get((topic, number), 0),
                        consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=ANSWER_SECONDS)[0],
                    )
                    for topic, number in self._partitions()
                }
            except KafkaException as error:
                raise self._silent(error) from None
        return {place: gap for place, gap in ranges.items() if len(gap)}

    # --- topics ---

    def _check_topics(self) -> None:
        now = self._topic_ids()
        file = f"{self.folder}/topics.json"
        known = json.loads(hadoop_files.text_of(self.spark, file) or "{}")
        for topic, id_ in now.items():
            before = known.setdefault(topic, id_)
            if before != id_ and NO_ID not in (before, id_):
                raise DataLossError(
                    f"Topic {topic} was deleted and made again (its id was {before} and is {id_} now): its offsets "
                    f"begin anew, and those in {self.folder} are of the old one. Read on, its "
                    "first records would be skipped. Move the tables and the checkpoints away and start anew."
                )
        if not set(now) <= set(json.loads(hadoop_files.text_of(self.spark, file) or "{}")):
            hadoop_files.write(self.spark, file, json.dumps(known, indent=1))
        self._checked_at = time.monotonic()

    def _topic_ids(self) -> dict[str, str]:
        try:
            there = self._client().list_topics(timeout=ANSWER_SECONDS).topics
            names = [name for name in there if self._is_read(name)]
            lacking = self._named() - set(names)
            if lacking:
                raise EnvironmentProblem(
                    f"The broker at {self.settings.kafka.bootstrap_servers} has no topic {', '.join(sorted(lacking))}: "
                    "create it, or set kafka.topic (kafka.topics, kafka.topic_pattern) to one it has."
                )
            if not names:
                return {}
            answers = self._client().describe_topics(TopicCollection(names), request_timeout=ANSWER_SECONDS)
            return {name: str(answer.result().topic_id) for name, answer in answers.items()}
        except KafkaException as error:
            raise self._silent(error) from None

    def _named(self) -> set[str]:
        kafka = self.settings.kafka
        return set() if kafka.topic_pattern is not None else set(kafka.topics or (kafka.topic,))

    def _is_read(self, topic: str) -> bool:
        pattern = self.settings.kafka.topic_pattern
        return topic in self._named() if pattern is None else re.fullmatch(pattern, topic) is not None

    def _partitions(self) -> list[Partition]:
        topics = self._client().list_topics(timeout=ANSWER_SECONDS).topics
        return [(name, number) for name in sorted(topics) if self._is_read(name) for number in topics[name].partitions]

    # --- the checkpoint ---

    def read_until(self) -> Offsets:
        """Where the next micro-batch begins: what was read before is in the tables."""
        done = self._checkpoint.finished()
        return self._checkpoint.kafka_ends(max(done)) if done else self._first_offsets()

    def _first_offsets(self) -> Offsets:
        return self._checkpoint.kafka_begin() or {}

    # --- noting ---

    def _note(self, gaps: Mapping[Partition, Range], batch: Batch) -> None:
        log.warning("%s", _sentence(gaps))
        now = datetime.now(UTC)
        rows = [(topic, number, gap.first, gap.until, now, batch.id) for (topic, number), gap in gaps.items()]
        frame = self.spark.createDataFrame(rows, LEDGER_GAPS.schema).select(*map(F.col, LEDGER_GAPS.columns))
        self.lake.append(frame.coalesce(1), LEDGER_GAPS, batch_id=batch.id)

    # --- the broker ---

    def _client(self) -> AdminClient:
        if self._admin is None:
            options: dict[str, Any] = {**librdkafka_options(self.settings.kafka), "error_cb": self._hear}
            self._admin = AdminClient(options, logger=log)
        return self._admin

    def _hear(self, error: KafkaError) -> None:
        """What is wrong with each connection; a call that fails says only that it took too long."""
        if "brokers are down" not in error.str():
            self._said.append(error.str())

    def _silent(self, error: KafkaException) -> EnvironmentProblem:
        cause = error.args[0]
        self._client().poll(0)
        why = self._said[-1] if self._said else cause.str() if isinstance(cause, KafkaError) else cause
        return EnvironmentProblem(
            f"No Kafka broker answers at {self.settings.kafka.bootstrap_servers} ({why.rstrip('.')}): see that it runs "
            "there (kafka.bootstrap_servers) and that kafka.security_protocol and the settings below it fit its "
            "listener. Nothing is lost: start again."
        )


def _sentence(gaps: Mapping[Partition, Range]) -> str:
    ranges = ", ".join(f"{topic} {number}: {gap}" for (topic, number), gap in gaps.items())
    lost = sum(map(len, gaps.values()))
    return (
        f"Kafka deleted {lost:,} offsets before they were read ({ranges}): its retention was shorter than the time "
        "that ingest stood still. They cannot be had any more. To go on without them, which notes the gap in table "
        "ledger_gaps: --set kafka.fail_on_data_loss=false. Against the next time: a longer retention.ms of the topic."
    )
