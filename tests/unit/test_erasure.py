"""Laws of keyed hashes and of who is left out."""

from __future__ import annotations

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from features.erasure import ERASED_USER, keyed_hash, keyed_hash_of, pseudonymise, reject_erased, without_erased
from jobs.erase_user import mentions

KEY = b"sixteen bytes ok"
JUDGED = (
    "reason string, field string, detail string, user_id string, page string, raw binary, kafka_key binary, "
    "headers array<struct<key: string, value: binary>>, topic string, partition int, offset long, "
    "received_at timestamp, ingested_at timestamp, ingest_id string"
)


def judged(spark: SparkSession, *rows: tuple[str | None, str | None, bytes | None, bytes | None]) -> DataFrame:
    """Of reason, user_id, raw, kafka_key."""
    full = [
        (r, None, "d", u, "/a", raw, key, None, "t", 0, n, None, None, "q:0") for n, (r, u, raw, key) in enumerate(rows)
    ]
    return spark.createDataFrame(full, JUDGED)


@pytest.mark.parametrize("key", [KEY, b"k" * 64, b"longer than one block" * 9])
def test_the_native_hash_is_the_standard_one(spark: SparkSession, key: bytes) -> None:
    users = ["ada", "", "Łódź 🦊", "x" * 300]
    frame = spark.createDataFrame([(user,) for user in users], "user string")
    found = [row[0] for row in frame.select(keyed_hash(F.col("user"), key)).collect()]
    assert found == [keyed_hash_of(user, key) for user in users]
    assert frame.select(keyed_hash(F.lit(None).cast("string"), key)).first() == (None,)


def test_a_record_of_an_erased_person_keeps_its_place_and_nothing_else(spark: SparkSession) -> None:
    rows = judged(
        spark,
        (None, "ada", b'{"user_id":"ada"}', b"ada"),
        ("bad_timestamp", None, b'{"user_id":"ada","timestamp":1}', b"other"),
        ("not_json", None, b"{", b"ada"),
        (None, "bob", b'{"user_id":"bob"}', None),
        ("tombstone", None, None, None),
    )
    found = reject_erased(rows, {keyed_hash_of("ada", KEY)}, KEY).orderBy("offset").collect()
    kept = [(r.reason, r.user_id, r.page, r.raw, r.kafka_key, r.detail, r.offset) for r in found]
    gone = (ERASED_USER, None, None, None, None, None)
    assert kept == [
        *[(*gone, offset) for offset in range(3)],
        (None, "bob", "/a", bytearray(b'{"user_id":"bob"}'), None, "d", 3),
        ("tombstone", None, "/a", None, None, "d", 4),
    ]


def test_under_another_key_nobody_is_known(spark: SparkSession) -> None:
    rows = judged(spark, (None, "ada", b"", None))
    assert without_erased(rows, {keyed_hash_of("ada", KEY)}, KEY).isEmpty()
    assert without_erased(rows, {keyed_hash_of("ada", b"another key 1234")}, KEY).count() == 1
    assert without_erased(rows, (), b"").count() == 1


def test_pseudonyms_replace_the_id_and_leave_no_bytes_as_they_came(spark: SparkSession) -> None:
    rows = judged(spark, (None, "ada", b'{"user_id":"ada"}', b"ada"), ("not_json", None, b"{ada", b"ada"))
    first, second = pseudonymise(rows, KEY).orderBy("offset").collect()
    assert first.user_id == keyed_hash_of("ada", KEY)
    assert second.user_id is None
    assert {row[name] for row in (first, second) for name in ("raw", "kafka_key", "headers", "detail")} == {None}


def test_a_short_id_is_found_as_a_string_of_its_own_and_a_long_one_anywhere(spark: SparkSession) -> None:
    records = [
        (b'{"user_id":"7"', b"k"), (b'{"n":77}', b"7"), (b'{"user_id" : "7", "timestamp": 1}', None),
        (b'{"n":77}', b"k"), (None, None), (b"GET /u/person-123456 HTTP", None),
    ]  # fmt: skip
    rows = judged(spark, *[("not_json", None, raw, key) for raw, key in records])
    assert [r.offset for r in rows.where(mentions(["7"])).orderBy("offset").collect()] == [0, 1, 2]
    assert [r.offset for r in rows.where(mentions(["person-123456"])).collect()] == [5]
