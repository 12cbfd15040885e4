"""The same in Bytewax: batches from Kafka, a stateful operator for each user, a sink that scores and writes.

``python -m benchmarks.peers.with_bytewax SERVERS TOPIC FOLDER WORKER WORKERS``: each worker is a flow of its own over
its share of the partitions, since records are keyed by user already: nothing has to cross processes. Recovery is off,
as is the default: what it remembers of users is in memory only.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import run_main

from benchmarks.peers.person import Event, Person, Row
from benchmarks.peers.records import read
from benchmarks.peers.scorer import ROWS_A_WRITE, Newest, Scorer

AT_A_TIME = 10_000

Made = tuple[int, list[Row]]
"""Events taken, and the rows they make."""


class Share(KafkaSource):
    """The partitions of one worker."""

    def __init__(self, servers: str, topic: str, worker: int, workers: int) -> None:
        super().__init__([servers], [topic], tail=False, batch_size=AT_A_TIME, raise_on_errors=True)
        self.worker, self.workers = worker, workers

    def list_parts(self) -> list[str]:
        return [part for part in super().list_parts() if int(part.split("-")[0]) % self.workers == self.worker]


class OfUser(StatefulBatchLogic[Event, Made, Person]):
    """One user."""

    def __init__(self, kept: Person | None) -> None:
        self.person = kept or Person()

    def on_batch(self, values: list[Event]) -> tuple[Iterable[Made], bool]:
        values.sort()
        return [(len(values), self.person.take(values))], StatefulBatchLogic.RETAIN

    def snapshot(self) -> Person:
        return self.person


class Writer(StatelessSinkPartition[tuple[str, Made]]):
    """Collects the newest row of each user and minute until there are enough for a write."""

    def __init__(self, scorer: Scorer) -> None:
        self.newest = Newest(scorer)

    def write_batch(self, items: list[tuple[str, Made]]) -> None:
        for user, (events, rows) in items:
            self.newest.add(user, rows, events)
        if len(self.newest.rows) >= ROWS_A_WRITE:
            self.newest.flush()

    def close(self) -> None:
        self.newest.flush()


class Scores(DynamicSink[tuple[str, Made]]):
    """The table."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer

    def build(self, step_id: str, worker_index: int, worker_count: int) -> Writer:
        return Writer(self.scorer)


def parsed(messages: list[KafkaSourceMessage[bytes, bytes]]) -> list[tuple[str, Event]]:
    return [pair for pair in (read(message.value) for message in messages) if pair is not None]


def main(servers: str, topic: str, folder: Path, worker: int, workers: int) -> None:
    """Read to the ends; see the module's text."""
    scorer = Scorer(folder, worker)
    flow = Dataflow("behaviour")
    records = op.input("records", flow, Share(servers, topic, worker, workers))
    events = op.flat_map_batch("read", records, parsed)
    rows = op.stateful_batch("users", events, OfUser)
    op.output("scores", rows, Scores(scorer))
    run_main(flow)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
