"""The same in Quix Streams: a stateful apply for each event, a batching sink that scores and writes at checkpoints.

``python -m benchmarks.peers.with_quix SERVERS TOPIC FOLDER WORKER WORKERS``: workers share a consumer group. What is
remembered of users is Quix's own state (RocksDB, and a changelog topic, as is its default). It ends when no record has
come for some seconds.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

from quixstreams import Application
from quixstreams.sinks import BatchingSink
from quixstreams.sinks.base import SinkBatch
from quixstreams.state import State

from benchmarks.peers.person import Person, Row
from benchmarks.peers.records import read
from benchmarks.peers.scorer import Newest, Scorer

IDLE_SECONDS = 8.0
EVENTS_A_CHECKPOINT = 50_000
KEY = "person"


class Scores(BatchingSink):
    """Scores the newest row of each user and minute, in one append for all partitions of a checkpoint."""

    def __init__(self, scorer: Scorer) -> None:
        super().__init__()
        self.newest = Newest(scorer)

    def write(self, batch: SinkBatch) -> None:
        """Not called: :meth:`flush` writes all partitions at once."""

    def flush(self) -> None:
        for batch in self._batches.values():
            for item in batch:
                user, row = item.value
                self.newest.add(user, [] if row is None else [row], events=1)
        self._batches.clear()
        if self.newest.events:
            self.newest.flush()


def updated(value: bytes, state: State) -> tuple[str, Row | None]:
    """The row that a record makes or changes; None where it is late or no event."""
    pair = read(value)
    if pair is None:
        return "", None
    kept = state.get_bytes(KEY)
    person: Person = Person() if kept is None else pickle.loads(kept)
    rows = person.take([pair[1]])
    state.set_bytes(KEY, pickle.dumps(person, pickle.HIGHEST_PROTOCOL))
    return pair[0], rows[-1] if rows else None


def main(servers: str, topic: str, folder: Path, worker: int) -> None:
    """Read until nothing more comes; see the module's text."""
    scorer = Scorer(folder, worker)
    options: dict[str, Any] = {"queued.max.messages.kbytes": 65_536}
    app = Application(
        broker_address=servers,
        consumer_group=f"quix-{folder.name}",
        auto_offset_reset="earliest",
        commit_every=EVENTS_A_CHECKPOINT,
        state_dir=folder / f"state-{worker}",
        consumer_extra_config=options,
        loglevel="WARNING",
    )
    records = app.dataframe(app.topic(topic, value_deserializer="bytes", key_deserializer="str"))
    records.apply(updated, stateful=True).sink(Scores(scorer))
    app.run(timeout=IDLE_SECONDS)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
