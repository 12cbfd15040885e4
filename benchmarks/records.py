"""What a record costs the worker that validates it, by how it comes: microseconds of one core, without Spark.

The same events each time: one a record; with a number that the compiled pass leaves; several in a record; packed; of
another schema. An event by itself is the reference.
"""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import pyarrow as pa

from benchmarks.report import Cell, Table
from features.events import DEFAULT_RULES, ValidationRules
from features.packed import Batches
from features.records import packer
from features.schemas.mapping import mapping_of
from features.schemas.packing import Unpacking
from features.schemas.shipped import SHIPPED

TOPIC, TOGETHER = "t", 100
HEADERS = pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())]))
INSTANT = pa.timestamp("us", tz="UTC")
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def run(quick: bool, _folder: Path) -> list[Table]:
    """See the module's text."""
    events, rounds = (5_000, 3) if quick else (20_000, 7)
    plain = [_event(number) for number in range(events)]
    together = [plain[at : at + TOGETHER] for at in range(0, events, TOGETHER)]
    unpacking = replace(DEFAULT_RULES, decoders=(Unpacking(("gzip",), DEFAULT_RULES.max_batch_bytes),))
    mapped = replace(DEFAULT_RULES, mappings={TOPIC: mapping_of("segment", SHIPPED["segment"])})
    cases: dict[str, tuple[list[bytes], ValidationRules]] = {
        "one event": (plain, DEFAULT_RULES),
        "one event with an exponent, which the strict validator reads": (
            [value[:-1] + b',"n":1e3}' for value in plain],
            DEFAULT_RULES,
        ),
        f"an array of {TOGETHER}": ([b"[" + b",".join(one) + b"]" for one in together], DEFAULT_RULES),
        f"an object around {TOGETHER}": (
            [b'{"tenant":"t","events":[' + b",".join(one) + b"]}" for one in together],
            DEFAULT_RULES,
        ),
        "one event in gzip": ([gzip.compress(value) for value in plain], unpacking),
        "one event of Segment, by its mapping": ([_segment(number) for number in range(events)], mapped),
    }
    work = {name: _timed(values, rules) for name, (values, rules) in cases.items()}
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for number in range(rounds + 1):
        for name, once in work.items():
            took = once()
            if number:  # the first round compiles
                seconds[name].append(took)
    micros = {name: 1e6 * median(took) / events for name, took in seconds.items()}
    lines: list[tuple[Cell, ...]] = [(name, one, one / micros["one event"]) for name, one in micros.items()]
    return [
        Table(
            f"What a record holds: {events:,} events of {len(plain[0])} bytes, validated and packed",
            ("", "µs an event", "times one event"),
            tuple(lines),
            (f"One core, without Spark; medians of {rounds} rounds in turns.",),
        )
    ]


def _timed(values: list[bytes], rules: ValidationRules) -> Callable[[], float]:
    records, validate = _records(values), packer(rules)

    def once() -> float:
        batches: Batches = iter([records])
        began = time.perf_counter()
        for _ in validate(batches):
            pass
        return time.perf_counter() - began

    return once


def _event(number: int) -> bytes:
    fields = {"user_id": f"user {number}", "action": "click", "page": "/a", "timestamp": "2026-03-01T11:59:00Z"}
    return json.dumps({**fields, "event_id": f"id-{number}"}).encode()


def _segment(number: int) -> bytes:
    event = {
        "type": "track", "event": "Product Added", "userId": f"user {number}", "messageId": f"id-{number}",
        "timestamp": "2026-03-01T11:59:00Z", "properties": {"path": "/a", "price": 1.5},
    }  # fmt: skip
    return json.dumps(event).encode()


def _records(values: list[bytes]) -> pa.RecordBatch:
    """As Spark hands them to a worker."""
    size = len(values)
    columns = {
        "key": pa.array([b"key"] * size),
        "value": pa.array(values, pa.binary()),
        "headers": pa.array([[]] * size, HEADERS),
        "topic": pa.array([TOPIC] * size),
        "partition": pa.array([0] * size, pa.int32()),
        "offset": pa.array(range(size), pa.int64()),
        "timestamp": pa.array([NOW] * size, INSTANT),
        "ingested_at": pa.array([NOW] * size, INSTANT),
        "ingest_id": pa.array(["q:0"] * size),
    }
    return pa.RecordBatch.from_pydict(columns)
