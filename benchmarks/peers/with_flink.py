"""The same in PyFlink: a keyed process function for each user, whose output is scored and written in batches.

``python -m benchmarks.peers.with_flink SERVERS TOPIC FOLDER WORKER WORKERS``: one job with two parallel Python workers
beside the JVM of its local cluster. What is remembered of users is Flink's keyed state (pickled, on the heap, no
checkpoints). The jar of its Kafka connector is in ``.peers/jars/flink``.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

from pyflink.common import Configuration, WatermarkStrategy
from pyflink.common.serialization import SimpleStringSchema
from pyflink.common.typeinfo import Types
from pyflink.datastream import KeyedProcessFunction, RuntimeContext, StreamExecutionEnvironment
from pyflink.datastream.connectors.kafka import KafkaOffsetsInitializer, KafkaSource
from pyflink.datastream.state import ValueStateDescriptor

from benchmarks.peers.person import Person, Row
from benchmarks.peers.records import read
from benchmarks.peers.scorer import Newest, Scorer

PROJECT = Path(__file__).resolve().parents[2]
PARALLEL = 2
EVENTS_A_WRITE = 10_000
"""A worker's, which is some seconds of its work."""


class OfUser(KeyedProcessFunction):
    """The rows of a user's events; scored and written when there are enough, and at the end."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def open(self, runtime_context: RuntimeContext) -> None:
        self.newest = Newest(Scorer(Path(self.folder), runtime_context.get_index_of_this_subtask()))
        self.state = runtime_context.get_state(ValueStateDescriptor("person", Types.PICKLED_BYTE_ARRAY()))

    def process_element(self, value: tuple[str, str], ctx: KeyedProcessFunction.Context) -> Iterator[str]:
        pair = read(value[1].encode())
        user, rows = "", list[Row]()
        if pair is not None:
            user, event = pair
            kept = self.state.value()
            person: Person = Person() if kept is None else pickle.loads(kept)
            rows = person.take([event])
            self.state.update(pickle.dumps(person, pickle.HIGHEST_PROTOCOL))
        self.newest.add(user, rows, events=1)
        if self.newest.events >= EVENTS_A_WRITE:
            self.newest.flush()
        yield from ()

    def close(self) -> None:
        self.newest.flush()


def user_of(value: str) -> str:
    """The record's user, cheaply: Flink's Python source gives no keys."""
    begin = value.find('"user_id":"') + 11
    return value[begin : value.find('"', begin)]


def main(servers: str, topic: str, folder: str) -> None:
    """Read to the ends; see the module's text."""
    os.environ["PYTHONPATH"] = str(PROJECT)
    settings = Configuration()
    for name, value in {
        "python.executable": sys.executable,
        "python.client.executable": sys.executable,
        "python.fn-execution.bundle.size": "20000",
        "python.state.cache-size": "50000",
        "pipeline.jars": ";".join(jar.as_uri() for jar in (PROJECT / ".peers" / "jars" / "flink").glob("*.jar")),
        "pipeline.object-reuse": "true",
    }.items():
        settings.set_string(name, value)
    env = StreamExecutionEnvironment.get_execution_environment(settings)
    env.set_parallelism(PARALLEL)
    source = (
        KafkaSource.builder()
        .set_bootstrap_servers(servers)
        .set_topics(topic)
        .set_group_id(f"flink-{Path(folder).name}")
        .set_starting_offsets(KafkaOffsetsInitializer.earliest())
        .set_bounded(KafkaOffsetsInitializer.latest())
        .set_value_only_deserializer(SimpleStringSchema())
        .build()
    )
    records = env.from_source(source, WatermarkStrategy.no_watermarks(), "records")
    keyed = records.map(lambda value: (user_of(value), value), Types.TUPLE([Types.STRING(), Types.STRING()]))
    keyed.key_by(lambda pair: pair[0], Types.STRING()).process(OfUser(folder), Types.STRING()).print()
    env.execute("behaviour")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3])
