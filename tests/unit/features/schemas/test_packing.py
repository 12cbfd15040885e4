"""Values that are packed are read as what they stand for, and kept as they came."""

from __future__ import annotations

import bz2
import gzip
import random
import tracemalloc
from collections.abc import Callable
from dataclasses import replace

import pyarrow as pa
import pytest

from features.packed import null_where_empty
from features.records import validated
from features.schemas.packing import CODECS, MOST_SEARCHED, Unpacking, searchable
from features.validation import Rejection
from privacy.mentions import People, names_in
from tests.unit.features.event_cases import NOON, RULES, event
from tests.unit.features.test_packed import some_records


def by_arrow(codec: str) -> Callable[[bytes], bytes]:
    def pack(text: bytes) -> bytes:
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, codec) as stream:
            stream.write(text)
        packed: bytes = sink.getvalue().to_pybytes()
        return packed

    return pack


PACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": by_arrow("zstd"), "lz4": by_arrow("lz4")}
UNDO = Unpacking(tuple(CODECS), 5_000)


@pytest.mark.parametrize("codec", CODECS)
def test_what_is_packed_is_had_as_it_was_or_refused_with_why(codec: str) -> None:
    pack = PACK[codec]
    assert UNDO(pack(event())) == event()
    assert UNDO(event()) is None
    assert Unpacking((), 5_000)(pack(event())) is None, "only what the settings name"
    assert UNDO(pack(b"x" * 5_000)) == b"x" * 5_000
    assert UNDO(pack(b"x" * 5_001)) == Rejection("too_large", None, f"over 5000 bytes when {codec} is undone")
    damaged = pack(event())
    for spoiled in (damaged[:-9], damaged[:5], damaged[:4] + bytes(reversed(damaged[4:]))):
        assert UNDO(spoiled) == Rejection("undecodable", None, f"{codec} bytes that are damaged")


def test_a_bomb_takes_no_more_memory_than_may_be_read() -> None:
    bomb = gzip.compress(b"0" * 200_000_000, 1)
    tracemalloc.start()
    pool = pa.proxy_memory_pool(pa.default_memory_pool())
    before = pa.default_memory_pool()
    pa.set_memory_pool(pool)
    try:
        assert isinstance(UNDO(bomb), Rejection)
        assert len(searchable(bomb)) <= MOST_SEARCHED
        most = max(pool.max_memory() or 0, tracemalloc.get_traced_memory()[1])
    finally:
        pa.set_memory_pool(before)
        tracemalloc.stop()
    assert most < 20_000_000


def test_packed_records_are_events_that_keep_their_bytes_and_are_the_same_again() -> None:
    several = b"[" + event(event_id="a") + b"," + event(price=1e3) + b"]"
    plain = [event(), several, b"no event", event(price=1e3)]
    packed = [PACK[codec](value) for value, codec in zip(plain, ("gzip", "zstd", "lz4", "gzip"), strict=True)]
    values: list[bytes | None] = [*packed, event(), None, PACK["lz4"](event())[:-9], bz2.compress(event())]
    records = null_where_empty(some_records(values))
    noon = pa.array([NOON] * len(values), pa.int64()).cast(pa.timestamp("us", tz="UTC"))
    for name in ("timestamp", "ingested_at"):
        records = records.set_column(records.schema.get_field_index(name), name, noon)
    rules = replace(RULES, decoders=(UNDO,))
    order = [("offset", "ascending"), ("part", "ascending")]
    found = validated(records, rules).sort_by(order)
    assert found["reason"].to_pylist() == [
        None, None, None, "not_json", None, None, "tombstone", "undecodable", "not_utf8",
    ]  # fmt: skip
    kept = {(row["offset"], row["part"]): row["raw"] for row in found.select(["offset", "part", "raw"]).to_pylist()}
    assert kept[0, None] == packed[0]
    assert (kept[1, 1], kept[1, 2]) == (event(event_id="a"), event(price=1e3)), "of several each has its own text"
    assert kept[3, None] == packed[3]

    names = {"value": "raw", "key": "kafka_key", "timestamp": "received_at"}
    again = found.select([*[names.get(name, name) for name in records.schema.names], "part", "parts"])
    again = again.rename_columns([*records.schema.names, "part", "parts"])
    (batch,) = again.combine_chunks().to_batches()
    assert validated(batch, rules).sort_by(order).to_pylist() == found.to_pylist()


@pytest.mark.parametrize("codec", CODECS)
def test_names_are_found_in_what_is_packed(codec: str) -> None:
    text, chance = b'{"user": "somebody-17", "x"', random.Random(5)
    assert "somebody-17" in names_in(PACK[codec](text))
    assert People(["somebody-17"]).named_in([PACK[codec](text), b"somebody-1", None]).tolist() == [True, False, False]
    long = text + bytes(chance.randbytes(20_000))
    assert "somebody-17" in names_in(PACK[codec](long)[:-9]), "up to where it is damaged"
