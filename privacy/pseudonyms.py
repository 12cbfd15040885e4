"""Keyed hashes of user ids: people who were erased stay away, and ids can be kept out of the tables altogether.

The hash is HMAC-SHA256 (RFC 2104) in hex. The key's two pads are made here, so that native columns compute the rest:
``sha256((key ^ opad) + sha256((key ^ ipad) + id))``. Who can read Spark's plans can read the pads: plans belong to the
operators, like the key.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from features.maps import map_of, rows_of
from features.sense import is_placeholder
from privacy.mentions import names_in

BLOCK = 64
ERASED_USER = "erased_user"
"""Reason of a rejected record of an erased person: its place in Kafka is kept, its bytes are not."""
BYTES = ("raw", "kafka_key", "headers")
PLACES = ("topic", "partition", "offset", "part", "parts", "received_at", "ingested_at", "ingest_id")
"""What is kept of the record of an erased person."""


def without_content(columns: Iterable[str]) -> dict[str, str | None]:
    """What the record of an erased person has in those of its ``columns`` that say more than its place."""
    return {name: ERASED_USER if name == "reason" else None for name in columns if name not in PLACES}


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
    """What is done to validated records before they are kept, in Python workers.

    Records of erased people become rejected ones without content. A record is a person's when its user id or its Kafka
    key is; or, where it was rejected for another reason and so may be of anybody, when any name in its bytes is
    (:func:`privacy.mentions.names_in`), or in its key or headers. Of one that holds several events the key is nobody's:
    other people's events stay, but none of the bytes that name the person.

    With ``pseudonyms``, user ids are replaced by their keyed hashes, and what holds them as they came is left out:
    value, Kafka key, headers. Fields that senders fill freely (page, session_id, properties) stay as they are. Rejected
    records lose their value too and cannot be replayed; ``detail`` is left out, since it quotes them.

    Attributes:
        erased: keyed hashes of the erased people. Looked up one by one: their number costs memory, and no time.
        key: of the hashes; empty where nobody was erased and ids stay.
        pseudonyms: whether ids are replaced.
        fields: columns of the context that are replaced.
    """

    erased: Collection[str] = frozenset()
    key: bytes = field(default=b"", repr=False)
    pseudonyms: bool = False
    fields: tuple[str, ...] = ()

    def apply(self, validated: pa.Table) -> pa.Table:
        """Validated records (columns of :data:`features.packed.VALIDATED`) as they may be kept."""
        columns = dict(zip(validated.column_names, validated.columns, strict=True))
        if self.erased:
            is_one_of_several = validated["part"].is_valid()
            by_key = pc.and_not(self._are_erased(validated["kafka_key"]), is_one_of_several)
            gone = pc.or_(self._are_erased(validated["user_id"]), by_key)
            gone = pc.or_(gone, self._are_named(validated, validated["reason"].is_valid()))
            for name, left in without_content(validated.column_names).items():
                columns[name] = pc.if_else(gone, pa.scalar(left, columns[name].type), columns[name])
            of_others = pc.and_(is_one_of_several, validated["reason"].is_null())
            shared = self._are_named(validated, of_others)
            before = self._are_erased(validated["anonymous_id"])  # whoever it is now, he is not to be linked to it
            columns["anonymous_id"] = pc.if_else(before, pa.scalar(None, pa.string()), columns["anonymous_id"])
            shared = pc.or_(shared, before)
            for name in BYTES:
                columns[name] = pc.if_else(shared, pa.scalar(None, columns[name].type), columns[name])
        if self.pseudonyms:
            # Of a hash nobody could tell that it is of a name of nobody, which links nothing.
            nobody = pc.or_(*(_are_placeholders(columns[name]) for name in ("user_id", "anonymous_id")))
            columns["anonymous_id"] = pc.if_else(nobody, pa.scalar(None, pa.string()), columns["anonymous_id"])
            columns["user_id"] = _of_each(columns["user_id"], lambda one: keyed_hash_of(one, self.key), pa.string())
            for name in (*BYTES, "detail"):
                columns[name] = pa.nulls(validated.num_rows, columns[name].type)
        if self.fields:
            self._replace_fields(columns)
        return pa.table(columns)

    def _replace_fields(self, columns: dict[str, pa.ChunkedArray]) -> None:
        """Hashes in place of the context's :attr:`fields`, and nothing that holds them as they came."""
        had = columns["reason"].is_valid()
        for name in self.fields:
            had = pc.or_(had, columns[name].is_valid())
            columns[name] = _of_each(columns[name], self._hash, pa.string())
        properties = columns["properties"].combine_chunks()
        row, used = rows_of(properties)
        keys, items = properties.keys[used], properties.items[used]
        of_fields = pc.is_in(keys, pa.array([*self.fields, *(f"$.{name}" for name in self.fields)]))
        holds = np.zeros(len(properties), bool)
        holds[row[of_fields.to_numpy(zero_copy_only=False)]] = True
        if holds.any():
            had = pc.or_(had, pa.array(holds))
            hashes = _of_each(items.filter(of_fields), self._hash, pa.string())
            columns["properties"] = map_of(row, keys, pc.replace_with_mask(items, of_fields, hashes), len(properties))
        for name in (*BYTES, "detail"):
            columns[name] = pc.if_else(had, pa.scalar(None, columns[name].type), columns[name])

    def _hash(self, text: str) -> str:
        return keyed_hash_of(text, self.key)

    def of_people(self, people: pa.Table, *columns: str) -> pa.Table:
        """``people`` with these columns of ids as they are kept."""
        for name in columns if self.pseudonyms else ():
            ids = _of_each(people[name], self._hash, pa.string())
            people = people.set_column(people.column_names.index(name), name, ids)
        return people

    def _are_erased(self, values: pa.ChunkedArray) -> pa.ChunkedArray:
        return pc.fill_null(_of_each(values, self._is_erased, pa.bool_()), False)

    def _is_erased(self, one: str | bytes) -> bool:
        return keyed_hash_of(one, self.key) in self.erased or _text(one) in self.erased

    def _are_named(self, validated: pa.Table, among: pa.ChunkedArray) -> pa.Array:
        """Which of the records ``among`` these have bytes that name an erased person."""
        named = np.zeros(validated.num_rows, bool)
        doubtful = np.flatnonzero(among)
        for place, record in zip(doubtful, validated.select(BYTES).take(doubtful).to_pylist(), strict=True):
            texts = [record["raw"], record["kafka_key"], *(one["value"] for one in record["headers"] or ())]
            named[place] = any(self._is_erased(name) for text in texts for name in names_in(text))
        return pa.array(named)


def _of_each(values: pa.Array | pa.ChunkedArray, make: Callable[[Any], Any], kind: pa.DataType) -> pa.Array:
    """``make`` of each different value; null of null."""
    codes = (values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values).dictionary_encode()
    return pa.array([make(one) for one in codes.dictionary.to_pylist()], kind).take(codes.indices)


def _are_placeholders(ids: pa.ChunkedArray) -> pa.Array:
    return pc.fill_null(_of_each(ids, is_placeholder, pa.bool_()), False)


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")
