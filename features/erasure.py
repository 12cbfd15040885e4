"""Keyed hashes of user ids: people who were erased stay away, and ids can be kept out of the tables altogether.

The hash is HMAC-SHA256 (RFC 2104) in hex. The key's two pads are made here, so that native columns compute the rest:
``sha256((key ^ opad) + sha256((key ^ ipad) + id))``. Who can read Spark's plans can read the pads: plans belong to the
operators, like the key.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

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
    return hmac.new(key, value.encode() if isinstance(value, str) else value, hashlib.sha256).hexdigest()


def without_erased(rows: DataFrame, erased: Collection[str], key: bytes) -> DataFrame:
    """The rows whose ``user_id`` (or, where ids are pseudonyms, the hash itself) is none of the ``erased`` hashes."""
    return rows.where(~_is_erased(F.col("user_id"), erased, key)) if erased else rows


def reject_erased(judged: DataFrame, erased: Collection[str], key: bytes) -> DataFrame:
    """Turn records of erased people into rejected ones without content.

    Args:
        judged: as :func:`features.events.judge` returns it.
        erased: keyed hashes; of some hundred people, since they become part of the plan.

    A record is a person's when its user id or its Kafka key is, or, where it was rejected and so has no user id,
    when the ``user_id`` that can still be read in it is.
    """
    if not erased:
        return judged
    readable = F.when(F.col("reason").isNotNull(), F.get_json_object(F.col("raw").cast("string"), "$.user_id"))
    who = [F.col("user_id"), F.col("kafka_key"), readable]
    gone = F.coalesce(*[F.when(_is_erased(one, erased, key), F.lit(True)) for one in who], F.lit(False))
    kept = {"reason": F.lit(ERASED_USER)}
    return judged.withColumn("is_erased", gone).select(
        *[
            F.col(name)
            if name in PLACES
            else F.when(~F.col("is_erased"), F.col(name)).otherwise(kept.get(name)).alias(name)
            for name in judged.columns
        ]
    )


def pseudonymise(judged: DataFrame, key: bytes) -> DataFrame:
    """Replace user ids by their keyed hashes and leave out what holds them as they came: value, Kafka key, headers.

    Fields that senders fill freely (page, session_id, properties) stay as they are. Rejected records lose
    their value too and cannot be replayed; ``detail`` is left out, since it quotes them.
    """
    changed = {
        **{
            name: F.lit(None).cast(judged.schema[name].dataType)
            for name in (*BYTES, "detail")
            if name in judged.columns
        },
        "user_id": keyed_hash(F.col("user_id"), key),
    }
    return judged.withColumns(changed).select(judged.columns)


@dataclass(frozen=True)
class Guard:
    """:func:`reject_erased` and then, if so chosen, :func:`pseudonymise`, for rows of Spark and for packed events.

    Attributes:
        erased: keyed hashes of the erased people.
        key: of the hashes; empty where nobody was erased and ids stay.
        pseudonyms: whether ids are replaced.
    """

    erased: frozenset[str] = frozenset()
    key: bytes = field(default=b"", repr=False)
    pseudonyms: bool = False

    def rows(self, judged: DataFrame) -> DataFrame:
        """Judged records as they may be kept."""
        kept = reject_erased(judged, self.erased, self.key)
        return pseudonymise(kept, self.key) if self.pseudonyms else kept

    def pack(self, judged: pa.Table) -> pa.Table:
        """Events (columns of :data:`features.packed.JUDGED`) as they may be kept."""
        columns = dict(zip(judged.column_names, judged.columns, strict=True))
        if self.erased:
            gone = pc.or_(self._are_erased(judged["user_id"]), self._are_erased(judged["kafka_key"]))
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
        def is_erased(one: str | bytes) -> bool:
            return keyed_hash_of(one, self.key) in self.erased or _text(one) in self.erased

        return pc.fill_null(_of_each(values, is_erased, pa.bool_()), False)


def _of_each(values: pa.ChunkedArray, make: Callable[[Any], Any], kind: pa.DataType) -> pa.Array:
    """``make`` of each different value; null of null."""
    codes = values.combine_chunks().dictionary_encode()
    return pa.array([make(one) for one in codes.dictionary.to_pylist()], kind).take(codes.indices)


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")


def _is_erased(value: Column, erased: Collection[str], key: bytes) -> Column:
    hashes = sorted(erased)
    return F.coalesce(keyed_hash(value, key).isin(hashes) | value.cast("string").isin(hashes), F.lit(False))
