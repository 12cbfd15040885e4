"""Every byte of a folder, unpacked: which of its files hold a text, however they are written."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

KAFKA_CODECS = {1: "gzip", 2: "snappy", 3: "lz4", 4: "zstd"}
HEAD = 61
"""Bytes of a Kafka record batch before its records."""


def files_naming(folder: Path, texts: Iterable[str]) -> dict[str, list[str]]:
    """By text, the files under ``folder``, relative to it, that hold it in their bytes or in what these unpack to."""
    wanted = {text: {text.encode(), json.dumps(text)[1:-1].encode()} for text in texts}
    found: dict[str, list[str]] = {text: [] for text in wanted}
    for file in sorted(folder.rglob("*")):
        if file.is_symlink() or not file.is_file():
            continue
        name = str(file.relative_to(folder))
        parts = [name.encode(), *contents(name, file.read_bytes())]
        for text, spellings in wanted.items():
            if any(spelling in part for part in parts for spelling in spellings):
                found[text].append(name)
    return found


def contents(name: str, raw: bytes) -> Iterator[bytes]:
    """The bytes of a file, and what they are when they are unpacked, once or more."""
    yield raw
    if raw[:4] == raw[-4:] == b"PAR1":
        yield from parquet(raw)
    elif raw[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            for member in archive.namelist():
                yield from contents(member, archive.read(member))
    elif raw[:2] == b"\x1f\x8b":
        yield from contents(name, gzip.decompress(raw))
    elif raw[:6] == b"\xfd7zXZ\0":
        yield from contents(name, lzma.decompress(raw))
    elif raw[:4] in (b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18"):
        yield from contents(name, unpacked(raw, "zstd" if raw[0] == 0x28 else "lz4"))
    elif name.endswith(".log") and len(raw) > HEAD and raw[16] == 2:
        yield from kafka(raw)
    elif raw[:8] == b"\x89PNG\r\n\x1a\n":
        yield from png(raw)


def parquet(raw: bytes) -> Iterator[bytes]:
    with pq.ParquetFile(io.BytesIO(raw)) as file:
        yield str(file.metadata.to_dict()).encode()
        for batch in file.iter_batches(10_000):
            # The buffers themselves: nested values, texts and bytes lie in them as they are.
            yield from (bytes(buffer) for column in batch.columns for buffer in column.buffers() if buffer is not None)


def kafka(raw: bytes) -> Iterator[bytes]:
    """The records of a segment, batch by batch."""
    at = 0
    while at + HEAD <= len(raw):
        size = 12 + struct.unpack_from(">i", raw, at + 8)[0]
        attributes = struct.unpack_from(">h", raw, at + 21)[0]
        if size <= 12:
            return  # the rest is not written yet
        records = raw[at + HEAD : at + size]
        if codec := KAFKA_CODECS.get(attributes & 7):
            records = gzip.decompress(records) if codec == "gzip" else unpacked(records, codec)
        yield records
        at += size


def png(raw: bytes) -> Iterator[bytes]:
    """The texts of a picture."""
    at = 8
    while at + 12 <= len(raw):
        (size,) = struct.unpack_from(">I", raw, at)
        kind, content = raw[at + 4 : at + 8], raw[at + 8 : at + 8 + size]
        if kind == b"zTXt":
            yield zlib.decompress(content.split(b"\0", 1)[1][1:])
        at += size + 12


def unpacked(raw: bytes, codec: str) -> bytes:
    with pa.CompressedInputStream(pa.BufferReader(raw), codec) as stream:
        return bytes(stream.read())
