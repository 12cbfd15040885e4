"""Who is named in bytes that nobody can read: rejected records, and pages that show people.

Two questions are asked of them. *Which names could be meant here* (:func:`names_in`) is asked where people are known by
hashes only, so that each name must be cut out before it can be compared. *Is one of these people named*
(:class:`People`) is asked where the ids are known; it finds them inside of other text, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.schemas.packing import searchable

LONG_ENOUGH = 8
"""An id of so many characters is looked for anywhere in bytes; a shorter one only as a whole JSON string or number of
the field ``user_id``: ``7`` is in almost every record."""
BASE = np.uint64(0x9E3779B97F4A7C15)
INVERSE = np.uint64(pow(0x9E3779B97F4A7C15, -1, 1 << 64))
IDS = ("user_id", "anonymous_id")
"""Columns of tables in which people are named."""
PIECE_BYTES = 4_000_000
"""Of text are searched at a time: some 100 MB of numbers."""

_USER = re.compile(rb'"user_id"\s*:\s*([^\s",{}\[\]]+)')
_STRING = re.compile(rb'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_COARSE = re.compile(rb'[^\s"]+')
_FINE = re.compile(rb"[^\s\"'`\\{}\[\]()<>,;:=|&?/#]+")


def names_in(value: bytes | None) -> Iterator[str]:
    """What in ``value`` could be somebody's id: what stands in quotes, a bare ``user_id``, and words of some length.

    JSON that is cut off or garbled has no quotes to rely on: what lies between any two of them counts, and each string
    is read with its escapes where that can be done.
    """
    if not value:
        return
    value = searchable(value)
    names = {*value.split(b'"'), *_USER.findall(value)}
    names |= {word for cut in (_COARSE, _FINE) for word in cut.findall(value) if len(word) >= LONG_ENOUGH}
    for name in names:
        yield name.decode("utf-8", "replace")
    if b"\\" in value:
        for text in _STRING.findall(value):
            if b"\\" in text:
                try:
                    yield json.loads(b'"' + text + b'"', strict=False)
                except ValueError:
                    continue


class People:
    """Ids that are looked for, however many: the time is that of the text times the number of their lengths."""

    def __init__(self, ids: Iterable[str], *, anywhere: bool = False) -> None:
        """``anywhere``: look for short ids, too, inside of other text."""
        self.ids = frozenset(ids)
        self.shortest = 1 if anywhere else LONG_ENOUGH

    @cached_property
    def array(self) -> pa.Array:
        """The ids, for Arrow's own look-up."""
        return pa.array(sorted(self.ids), pa.string())

    @cached_property
    def _spellings(self) -> dict[int, tuple[np.ndarray, frozenset[bytes]]]:
        """By length in bytes, the ids as they may stand in a text: sorted hashes, and the bytes themselves."""
        spelled: dict[int, set[bytes]] = {}
        for one in self.ids:
            if len(one) >= self.shortest:
                for text in {one, json.dumps(one)[1:-1], json.dumps(one, ensure_ascii=False)[1:-1]}:
                    raw = text.encode("utf-8", "replace")
                    spelled.setdefault(len(raw), set()).add(raw)
        return {size: (np.sort(_hashes_of(sorted(texts), size)), frozenset(texts)) for size, texts in spelled.items()}

    def named_in(self, texts: Sequence[bytes | None]) -> np.ndarray:
        """Whether each text, or what is packed in it, names one of the people."""
        texts = [text and searchable(text) for text in texts]
        named = np.array([self._has_name(text) for text in texts], bool)
        start = 0
        while start < len(texts):
            end, size = start, 0
            while end < len(texts) and (end == start or size < PIECE_BYTES):
                size += len(texts[end] or b"")
                end += 1
            short = [text if text is not None and len(text) <= PIECE_BYTES else b"" for text in texts[start:end]]
            named[start:end] |= self._inside(short)
            start = end
        return named

    def _has_name(self, text: bytes | None) -> bool:
        """Whether a name in it is one of them, or it is so long that it is taken in pieces which have one."""
        if text is not None and len(text) > PIECE_BYTES:
            longest = max(self._spellings, default=0)
            pieces = [text[at : at + PIECE_BYTES // 2 + longest] for at in range(0, len(text), PIECE_BYTES // 2)]
            return any(self._inside([piece])[0] or self._has_name(piece) for piece in pieces)
        return any(name in self.ids for name in names_in(text))

    def of_records(self, records: pa.Table) -> pa.Array:
        """Whose records of Kafka, kept as they came, name one of the people: in value, key, headers or detail."""
        named = np.zeros(records.num_rows, bool)
        for name in ("raw", "kafka_key", "detail"):
            named |= self.named_in(records[name].cast(pa.binary()).to_pylist())
        headers = records["headers"].to_pylist()
        flat = [(at, text) for at, of in enumerate(headers) for one in of or () for text in _both(one)]
        if flat:
            rows, texts = zip(*flat, strict=True)
            np.logical_or.at(named, np.array(rows), self.named_in(texts))
        return pa.array(named)

    def of_rows(self, rows: pa.Table) -> pa.Array:
        """Whose rows of a table: by its columns of ids (:data:`IDS`) where it has some, else as :meth:`of_records`."""
        named = [
            pc.is_in(rows[name], value_set=self.array).combine_chunks() for name in IDS if name in rows.column_names
        ]
        return reduce(pc.or_, named) if named else self.of_records(rows)

    def _inside(self, texts: Sequence[bytes | None]) -> np.ndarray:
        """Rabin and Karp: the hash of each window of an id's length, by sums that make all windows at once."""
        named = np.zeros(len(texts), bool)
        joined = b"\0".join(text or b"" for text in texts) if len(texts) > 1 else texts[0] or b""
        if not joined or not self._spellings:
            return named
        sums, unscale = _sums(np.frombuffer(joined, np.uint8))
        ends = np.cumsum([len(text or b"") + 1 for text in texts])
        for size, (hashes, spelled) in self._spellings.items():
            if size > len(joined):
                continue
            windows = (sums[size:] - sums[:-size]) * unscale[: len(sums) - size]
            near = np.minimum(np.searchsorted(hashes, windows), len(hashes) - 1)
            for at in np.flatnonzero(hashes[near] == windows):
                if joined[at : at + size] in spelled:
                    named[np.searchsorted(ends, at, side="right")] = True
        return named


def _sums(data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums of ``byte * BASE ** place`` up to each place, modulo 2**64, and what takes a place's factor away."""
    scale, unscale = (np.cumprod(np.full(len(data), base, np.uint64)) for base in (BASE, INVERSE))
    sums = np.zeros(len(data) + 1, np.uint64)
    np.cumsum((data.astype(np.uint64) + np.uint64(1)) * scale, out=sums[1:])
    return sums, unscale


def _hashes_of(texts: Sequence[bytes], size: int) -> np.ndarray:
    rows = np.frombuffer(b"".join(texts), np.uint8).reshape(len(texts), size).astype(np.uint64) + np.uint64(1)
    factors = np.cumprod(np.full(size, BASE, np.uint64))
    sums: np.ndarray = (rows * factors).sum(axis=1, dtype=np.uint64)
    return sums * INVERSE


def _both(header: dict[str, str | bytes | None]) -> Iterator[bytes]:
    for part in (header["key"], header["value"]):
        if part:
            yield part.encode() if isinstance(part, str) else part
