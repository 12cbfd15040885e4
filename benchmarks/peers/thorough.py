"""A consumer without a framework that does what the platform does of an event, but for those that come late.

``python -m benchmarks.peers.thorough SERVERS TOPIC FOLDER WORKER WORKERS``. It keeps every record as it came, as an
event or with the reason why it is none; finds repeated ids; says why a row is strange; and survives a kill: what a
batch reads is noted before it is read, each table's commit has the batch's number, and what is remembered of users is
made again from the table of events.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from confluent_kafka import Consumer, Message, TopicPartition
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake

from benchmarks.peers.person import Event, Person, Row
from benchmarks.peers.records import identified
from benchmarks.peers.scorer import Scorer

AT_A_TIME = 10_000
RECORDS_A_PARTITION = 50_000
"""... of a batch."""
REMEMBERED_SECONDS = 24 * 3600
MAX_REASONS = 3
RECORD = {
    "raw": pa.binary(), "partition": pa.int32(), "offset": pa.int64(), "received_at": pa.int64(), "batch": pa.int64(),
}  # fmt: skip
EVENTS = pa.schema(
    {"user_id": pa.string(), "second": pa.int64(), "action": pa.string(), "page": pa.string(), "event_id": pa.string()}
    | RECORD
)
REJECTED = pa.schema({"reason": pa.string()} | RECORD)

Offsets = dict[int, int]


class Tables:
    """The worker's tables, each written once for a batch, and the notes of what it has done."""

    def __init__(self, folder: Path, worker: int) -> None:
        self.folder, self.worker = folder, worker

    def append(self, name: str, rows: pa.Table, number: int) -> None:
        if rows.num_rows and self._number(name) < number:
            properties = CommitProperties(app_transactions=[Transaction(self._app, number)])
            write_deltalake(str(self.folder / name), rows, mode="append", commit_properties=properties)

    def read(self, name: str, columns: Sequence[str], since: int) -> pa.Table:
        """Events of the last time, in order of when they were done."""
        if not DeltaTable.is_deltatable(str(self.folder / name)):
            return EVENTS.empty_table().select(columns)
        rows = DeltaTable(str(self.folder / name)).to_pyarrow_table(columns=list(columns))
        return rows.filter(pc.greater_equal(rows["second"], since)).sort_by("second")

    def note(self, name: str, content: dict[str, Any]) -> None:
        path = self.folder / f"{name}-{self.worker}.json"
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(content), encoding="utf-8")
        fresh.replace(path)

    def noted(self, name: str) -> dict[str, Any]:
        path = self.folder / f"{name}-{self.worker}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    @property
    def _app(self) -> str:
        return f"worker-{self.worker}"

    def _number(self, name: str) -> int:
        path = str(self.folder / name)
        version = DeltaTable(path).transaction_version(self._app) if DeltaTable.is_deltatable(path) else None
        return -1 if version is None else version


class Memory:
    """What is remembered: users, and the ids of their events."""

    def __init__(self, kept: pa.Table) -> None:
        self.people: dict[str, Person] = {}
        self.ids = set(kept["event_id"].drop_null().to_pylist())
        past = defaultdict[str, list[Event]](list)
        for user, *event in zip(*(kept[name].to_pylist() for name in EVENTS.names[:4]), strict=True):
            past[user].append((event[0], event[1], event[2]))
        for user, events in past.items():
            self.take(user, events)

    def take(self, user: str, events: list[Event]) -> tuple[list[Row], int]:
        """Rows of the minutes that the events touch, and how many of them came too late."""
        person = self.people.setdefault(user, Person())
        late = person.late
        return person.take(sorted(events)), person.late - late


def sorted_out(messages: Sequence[Message], memory: Memory, number: int) -> tuple[pa.Table, pa.Table]:
    """The records as events and as rejected ones."""
    events: list[tuple[Any, ...]] = []
    rejected: list[tuple[Any, ...]] = []
    for message in messages:
        place = (message.value(), message.partition(), message.offset(), message.timestamp()[1], number)
        found = identified(message.value())
        if found is None:
            rejected.append(("no event", *place))
            continue
        user, (second, action, page), event_id = found
        if event_id is not None and event_id in memory.ids:
            rejected.append(("duplicate", *place))
            continue
        if event_id is not None:
            memory.ids.add(event_id)
        events.append((user, second, action, page, event_id, *place))
    return _table(events, EVENTS), _table(rejected, REJECTED)


def reasons_of(scorer: Scorer, rows: pd.DataFrame, scores: np.ndarray[Any, Any]) -> list[list[str] | None]:
    """Of each flagged row the features without which it would be least strange, the strongest first."""
    reasons: list[list[str] | None] = [None] * len(rows)
    flagged = np.flatnonzero(scores >= scorer.threshold)
    if len(flagged):
        values = rows[scorer.names].iloc[flagged]
        usual = rows[scorer.names].median()
        without = np.array([scorer.pipeline.predict(values.assign(**{name: usual[name]})) for name in scorer.names])
        order = np.argsort(without, axis=0)[:MAX_REASONS]
        for place, row in enumerate(flagged):
            reasons[row] = [scorer.names[feature] for feature in order[:, place]]
    return reasons


def main(servers: str, topic: str, folder: Path, worker: int, workers: int) -> None:
    """Read to the ends as of the start; see the module's text."""
    scorer, tables = Scorer(folder, worker), Tables(folder, worker)
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": f"thorough-{folder.name}",
            "enable.auto.commit": False,
            "queued.max.messages.kbytes": 65_536,
            "fetch.message.max.bytes": 8_388_608,
        }
    )
    numbers = sorted(consumer.list_topics(topic, timeout=30).topics[topic].partitions)
    mine = [number for number in numbers if number % workers == worker]
    until = {one: consumer.get_watermark_offsets(TopicPartition(topic, one), timeout=30)[1] for one in mine}
    done = tables.noted("done")
    at: Offsets = {int(one): offset for one, offset in done.get("at", {}).items()} or dict.fromkeys(mine, 0)
    number = done.get("number", -1) + 1
    memory = Memory(tables.read(f"events-{worker}", EVENTS.names[:5], done.get("newest", 0) - REMEMBERED_SECONDS))
    while any(at[one] < until[one] for one in mine):
        planned = tables.noted("planned")
        if planned.get("number") != number:
            ends = {one: min(at[one] + RECORDS_A_PARTITION, until[one]) for one in mine}
            planned = {"number": number, "ends": ends}
            tables.note("planned", planned)
        ends = {int(one): offset for one, offset in planned["ends"].items()}
        events, rejected = sorted_out(_between(consumer, topic, at, ends), memory, number)
        users, rows = _rows_of(events, memory, scorer)
        tables.append(f"events-{worker}", events, number)
        tables.append(f"rejected-{worker}", rejected, number)
        scored = scorer.scored(users, rows) if rows else None
        if scored is not None:
            reasons = reasons_of(scorer, scored.to_pandas(), scored["anomaly_score"].to_numpy())
            scored = scored.append_column("reasons", pa.array(reasons, pa.list_(pa.string())))
            tables.append("scores", scored, number)
        scorer.note_written(len(rows), events=sum(ends[one] - at[one] for one in mine))
        newest = pc.max(events["second"]).as_py() if events.num_rows else done.get("newest", 0)
        at, done = ends, {"number": number, "at": ends, "newest": newest}
        tables.note("done", done)
        number += 1
    consumer.close()


def _between(consumer: Consumer, topic: str, begins: Offsets, ends: Offsets) -> list[Message]:
    """The records from ``begins`` up to ``ends``, not included."""
    open_ones = {one for one in begins if begins[one] < ends[one]}
    consumer.assign([TopicPartition(topic, one, begins[one]) for one in open_ones])
    messages: list[Message] = []
    while open_ones:
        for message in consumer.consume(AT_A_TIME, timeout=1.0):
            partition, offset = message.partition() or 0, message.offset() or 0
            if offset < ends[partition]:
                messages.append(message)
            if offset >= ends[partition] - 1:
                open_ones.discard(partition)
    return messages


def _rows_of(events: pa.Table, memory: Memory, scorer: Scorer) -> tuple[list[str], list[Row]]:
    new = defaultdict[str, list[Event]](list)
    for user, *event in zip(*(events[name].to_pylist() for name in EVENTS.names[:4]), strict=True):
        new[user].append((event[0], event[1], event[2]))
    users: list[str] = []
    rows: list[Row] = []
    for user, acts in new.items():
        made, late = memory.take(user, acts)
        scorer.late += late
        rows += made
        users += [user] * len(made)
    return users, rows


def _table(rows: list[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    columns: list[Any] = list(zip(*rows, strict=True)) or [[]] * len(schema)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.table(arrays, schema=schema)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
