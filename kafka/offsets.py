"""Which offsets of Kafka have a record, asked of librdkafka by Spark's workers: only ranges of offsets come back."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from operator import methodcaller

import numpy as np
import pyarrow as pa
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from pyspark.sql import SparkSession

from features.errors import EnvironmentProblem
from features.ledger import NO_RANGES, Longs, Partition, Range, Ranges
from kafka.connection import librdkafka_options
from settings import KafkaSettings

log = logging.getLogger(__name__)
log.addHandler(logging.NullHandler())

NEAR = 20_000
"""Ranges with no more offsets between them are read in one go: to begin anew costs about as much."""
LONGEST, TASKS_A_CORE = 250_000, 4
"""Offsets that are read in one go at most, and tasks: the work is to be even, and each task connects anew."""
AT_A_TIME, WAIT_SECONDS = 1_000, 0.05
OPTIONS = {
    "group.id": "check_ledger",
    "enable.auto.commit": "false",
    "enable.partition.eof": "true",
    "auto.offset.reset": "earliest",  # of what is deleted while we read
    "queued.min.messages": "50000",
    "fetch.queue.backoff.ms": "2",  # by default, who has so many waits for a second before asking for more
    "fetch.wait.max.ms": "50",
    "log_level": "0",
}
END = "_PARTITION_EOF"
PASSING = ("_TRANSPORT", "_ALL_BROKERS_DOWN", "_RESOLVE", "_TIMED_OUT")
"""Errors after which librdkafka goes on by itself."""
ERROR_OF, OFFSET_OF = methodcaller("error"), methodcaller("offset")
"""Of a message; there are millions of them."""
ANSWER = pa.schema(
    {"span": pa.int64(), "first": pa.list_(pa.int64()), "until": pa.list_(pa.int64()), "problem": pa.string()}
)
ANSWER_IN_SPARK = "span bigint, first array<bigint>, until array<bigint>, problem string"


@dataclass(frozen=True)
class Span:
    """Offsets of a partition that are read in one go."""

    topic: str
    partition: int
    offsets: Range


def with_record(
    spark: SparkSession, kafka: KafkaSettings, asked: Mapping[Partition, Ranges]
) -> dict[Partition, Ranges]:
    """Of partitions with offsets ``asked`` for: those that have a record, and others that were read on the way.

    As ``kafka.isolation`` says, records of aborted transactions count, or do not.

    Raises:
        EnvironmentProblem: Kafka refuses to give its records, or nothing came for ``kafka.away_seconds``.
    """
    spans = [Span(*place, offsets) for place, ranges in asked.items() for offsets in spans_of(ranges)]
    if not spans:
        return {}
    options = {"isolation.level": kafka.isolation, **librdkafka_options(kafka), **OPTIONS}
    tasks = min(len(spans), TASKS_A_CORE * spark.sparkContext.defaultParallelism)
    away = kafka.away_seconds
    # The worker's function is handed over by its name: confluent_kafka's classes cannot be, and would be as bytes.
    work = spark.range(0, len(spans), 1, tasks).mapInArrow(
        lambda numbers: _answers(numbers, spans, options, away), ANSWER_IN_SPARK
    )
    found: dict[Partition, list[tuple[Longs, Longs]]] = {}
    for batch in work.toArrow().sort_by("span").to_batches():
        for number, first, until, problem in zip(*batch.columns, strict=True):
            span = spans[number.as_py()]
            if problem.is_valid:
                raise EnvironmentProblem(
                    f"Kafka at {kafka.bootstrap_servers} does not give the records of {span.topic} {span.partition} "
                    f"from offset {span.offsets.first} on: {problem}. See that it runs and lets this user read."
                )
            edges = first.values.to_numpy(), until.values.to_numpy()
            found.setdefault((span.topic, span.partition), [(NO_RANGES.first, NO_RANGES.until)]).append(edges)
    return {place: Ranges.joined(*map(np.concatenate, zip(*edges, strict=True))) for place, edges in found.items()}


def spans_of(ranges: Ranges) -> Iterator[Range]:
    """What is read for the sake of ``ranges``, in ascending order: those that are near to each other in one go."""
    far = np.flatnonzero(ranges.first[1:] - ranges.until[:-1] > NEAR)
    first = ranges.first[np.concatenate(([0], far + 1))] if len(ranges) else ranges.first
    until = ranges.until[np.concatenate((far, [len(ranges) - 1]))] if len(ranges) else ranges.until
    for begin, end in zip(first.tolist(), until.tolist(), strict=True):
        for start in range(begin, end, LONGEST):
            yield Range(start, min(end, start + LONGEST))


def _answers(
    numbers: Iterator[pa.RecordBatch], spans: Sequence[Span], options: Mapping[str, str], patience: float
) -> Iterator[pa.RecordBatch]:
    """What a worker does: numbers of ``spans`` in, the offsets of their records out."""
    with closing(Consumer(dict(options), logger=log)) as consumer:
        for number in (number for batch in numbers for number in batch["id"].to_pylist()):
            answer: dict[str, object] = {"span": number}
            try:
                there = _offsets(consumer, spans[number], patience)
                answer |= {"first": there.first, "until": there.until}
            except (KafkaException, TimeoutError) as error:
                answer["problem"] = str(error.args[0])
            yield pa.RecordBatch.from_pylist([answer], ANSWER)
            if "problem" in answer:
                return


def _offsets(consumer: Consumer, span: Span, patience: float) -> Ranges:
    """The offsets of records that are there. What follows them tells that there are no more before it, or the end."""
    at, until = span.offsets.first, span.offsets.until
    consumer.assign([TopicPartition(span.topic, span.partition, at)])
    found, heard, is_over = [NO_RANGES.first], time.monotonic(), False
    while at < until and not is_over:
        got = consumer.consume(min(AT_A_TIME, until - at), WAIT_SECONDS)
        if errors := list(filter(None, map(ERROR_OF, got))):
            is_over = any(map(_is_end, errors))
            got = [one for one in got if one.error() is None]
        if got:
            found.append(np.fromiter(map(OFFSET_OF, got), np.int64, len(got)))
            at, heard = int(found[-1][-1]) + 1, time.monotonic()
        if time.monotonic() - heard > patience:
            raise TimeoutError(f"nothing came for {patience:.0f} s")
    return Ranges.of_offsets(np.concatenate(found)).within(Ranges.of([span.offsets]))


def _is_end(error: KafkaError) -> bool:
    """Whether it tells of the partition's end.

    Raises:
        KafkaException: it is one that stays.
    """
    if error.name() not in (END, *PASSING):
        raise KafkaException(error)
    return error.name() == END
