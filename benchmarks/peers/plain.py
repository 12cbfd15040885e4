"""A consumer without a framework: confluent-kafka, a dictionary of users, pandas, scikit-learn, deltalake.

``python -m benchmarks.peers.plain SERVERS TOPIC FOLDER WORKER WORKERS``: a worker reads its share of the partitions to
their ends, as of the start. Batches are scored and written before their offsets are committed. What it remembers of
users is in memory only.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition

from benchmarks.peers.person import Event, Person
from benchmarks.peers.records import read
from benchmarks.peers.scorer import Scorer

AT_A_TIME = 10_000
EVENTS_A_BATCH = 100_000


def partitions_of(consumer: Consumer, topic: str, worker: int, workers: int) -> list[TopicPartition]:
    """The worker's share of the topic, from its start."""
    numbers = sorted(consumer.list_topics(topic, timeout=30).topics[topic].partitions)
    return [TopicPartition(topic, number, 0) for number in numbers if number % workers == worker]


def main(servers: str, topic: str, folder: Path, worker: int, workers: int) -> None:
    """Read to the ends; see the module's text."""
    scorer, people = Scorer(folder, worker), dict[str, Person]()
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": f"plain-{folder.name}",
            "enable.auto.commit": False,
            "queued.max.messages.kbytes": 65_536,
            "fetch.message.max.bytes": 8_388_608,
        }
    )
    mine = partitions_of(consumer, topic, worker, workers)
    left = sum(consumer.get_watermark_offsets(one, timeout=30)[1] for one in mine)
    consumer.assign(mine)
    while left:
        new, count = defaultdict[str, list[Event]](list), 0
        while count < min(EVENTS_A_BATCH, left):
            for message in consumer.consume(AT_A_TIME, timeout=1.0):
                count += 1
                pair = read(message.value())
                if pair is not None:
                    new[pair[0]].append(pair[1])
        users, rows = [], []
        for user, events in new.items():
            person = people.get(user)
            if person is None:
                person = people[user] = Person()
            events.sort()
            late = person.late
            made = person.take(events)
            scorer.late += person.late - late
            rows += made
            users += [user] * len(made)
        scorer.write(users, rows, events=count)
        consumer.commit(asynchronous=False)
        left -= count
    consumer.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
