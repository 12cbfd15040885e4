"""Keyed hashes of user ids: people who were erased stay away, and ids can be kept out of the tables altogether.

The hash is HMAC-SHA256 (RFC 2104) in hex. The key's two pads are made here, so that native columns compute the rest:
``sha256((key ^ opad) + sha256((key ^ ipad) + id))``. Who can read Spark's plans can read the pads: plans belong to the
operators, like the key.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from features.mentions import names_in
from features.packed import null_where_empty, without_null_lists

BLOCK = 64
ERASED_USER = "erased_user"
"""Reason of a rejected record of an erased person: its place in Kafka is kept, its bytes are not."""
BYTES = ("raw", "kafka_key", "headers")
PLACES = ("topic", "partition", "offset", "received_at", "ingested_at", "ingest_id")
"""What is kept of the record of an erased person."""


def keyed_hash(value: Column, key: bytes) -> Column:
    """HMAC-SHA256 of the UTF-8 text (or binary) ``value`` in hex; null of null."""
    block = (hashlib.sha256(key).digest() if len(key) > BLOCK else key).ljust(BLOCK, b"\0")
    inner, outer = (F.lit(bytes(byte ^ pad for byte in block)) for pad in (0x36, 0x5C))
    return F.sha2(F.concat(outer, F.unhex(F.sha2(F.concat(inner, value.cast("binary")), 256))), 256)


def keyed_hash_of(value: str | bytes, key: bytes) -> str:
    """:func:`keyed_hash` of one text or its bytes."""
    return hmac.digest(key, value.encode("utf-8", "replace") if isinstance(value, str) else value, "sha256").hex()


def without_erased(rows: DataFrame, erased: Collection[str], key: bytes) -> DataFrame:
    """The rows whose ``user_id`` (or, where ids are pseudonyms, the hash itself) is none of the ``erased`` hashes.

    They are joined, not listed: a list of some thousand would make Spark's plan too large.
    """
    if not erased:
        return rows
    table = pa.table({"user_hash": pa.array(sorted(erased), pa.string())})
    hashes = F.broadcast(rows.sparkSession.createDataFrame(table))
    for who in (keyed_hash(F.col("user_id"), key), F.col("user_id")):
        rows = rows.join(hashes, who == F.col("user_hash"), "left_anti")
    return rows


@dataclass(frozen=True)
class Guard:
    """What is done to judged records before they are kept, in Python workers.

    Records of erased people become rejected ones without content. A record is a person's when its user id or its Kafka
    key is; or, where it was rejected for another reason and so may be of anybody, when any name in its bytes is
    (:func:`features.mentions.names_in`), or in its key or headers.

    With ``pseudonyms``, user ids are replaced by their keyed hashes, and what holds them as they came is left out:
    value, Kafka key, headers. Fields that senders fill freely (page, session_id, properties) stay as they are. Rejected
    records lose their value too and cannot be replayed; ``detail`` is left out, since it quotes them.

    Attributes:
        erased: keyed hashes of the erased people. Looked up one by one: their number costs memory, and no time.
        key: of the hashes; empty where nobody was erased and ids stay.
        pseudonyms: whether ids are replaced.
    """

    erased: Collection[str] = frozenset()
    key: bytes = field(default=b"", repr=False)
    pseudonyms: bool = False

    def rows(self, judged: DataFrame) -> DataFrame:
        """Judged records as they may be kept (columns of :data:`features.packed.JUDGED`)."""
        if not self.erased and not self.pseudonyms:
            return judged

        def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for batch in batches:
                yield from self.pack(pa.Table.from_batches([null_where_empty(batch)])).to_batches()

        return without_null_lists(judged).mapInArrow(work, judged.schema)

    def pack(self, judged: pa.Table) -> pa.Table:
        """Judged records (columns of :data:`features.packed.JUDGED`) as they may be kept."""
        columns = dict(zip(judged.column_names, judged.columns, strict=True))
        if self.erased:
            gone = pc.or_(self._are_erased(judged["user_id"]), self._are_erased(judged["kafka_key"]))
            gone = pc.or_(gone, self._are_named(judged))
            for name in judged.column_names:
                if name not in PLACES:
                    kept = pa.scalar(ERASED_USER if name == "reason" else None, columns[name].type)
                    columns[name] = pc.if_else(gone, kept, columns[name])
        if self.pseudonyms:
            columns["user_id"] = _of_each(columns["user_id"], lambda one: keyed_hash_of(one, self.key), pa.string())
            for name in (*BYTES, "detail"):
                columns[name] = pa.nulls(judged.num_rows, columns[name].type)
        return pa.table(columns)

    def _are_erased(self, values: pa.ChunkedArray) -> pa.ChunkedArray:
        return pc.fill_null(_of_each(values, self._is_erased, pa.bool_()), False)

    def _is_erased(self, one: str | bytes) -> bool:
        return keyed_hash_of(one, self.key) in self.erased or _text(one) in self.erased

    def _are_named(self, judged: pa.Table) -> pa.Array:
        """Whether bytes of a rejected record name an erased person; events say themselves whose they are."""
        named = np.zeros(judged.num_rows, bool)
        doubtful = np.flatnonzero(judged["reason"].is_valid())
        for place, record in zip(doubtful, judged.select(BYTES).take(doubtful).to_pylist(), strict=True):
            texts = [record["raw"], record["kafka_key"], *(one["value"] for one in record["headers"] or ())]
            named[place] = any(self._is_erased(name) for text in texts for name in names_in(text))
        return pa.array(named)


def _of_each(values: pa.ChunkedArray, make: Callable[[Any], Any], kind: pa.DataType) -> pa.Array:
    """``make`` of each different value; null of null."""
    codes = values.combine_chunks().dictionary_encode()
    return pa.array([make(one) for one in codes.dictionary.to_pylist()], kind).take(codes.indices)


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")
