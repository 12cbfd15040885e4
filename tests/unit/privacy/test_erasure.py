"""Laws of keyed hashes and of who is left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema

from features.errors import EnvironmentProblem, UsageError
from features.identities import UNDONE, Link, Links
from features.packed import VALIDATED
from jobs.erase_user import users_of
from privacy import kafka_records
from privacy.kafka_records import KafkaErasure
from privacy.linked_ids import LinkedIds
from privacy.mentions import People
from privacy.pseudonyms import ERASED_USER, Guard, keyed_hash, keyed_hash_of, without_erased
from settings import load_settings

KEY = b"sixteen bytes ok"


def validated(*rows: tuple[str | None, str | None, bytes | None, bytes | None]) -> pa.Table:
    """Of reason, user_id, raw, kafka_key."""
    read = {"detail": "d", "page": "/a", "topic": "t", "partition": 0, "ingest_id": "q:0"}
    full = [
        {"reason": reason, "user_id": user, "raw": raw, "kafka_key": key, "offset": number, **read}
        for number, (reason, user, raw, key) in enumerate(rows)
    ]
    return pa.Table.from_pylist(full, schema=to_arrow_schema(VALIDATED, timezone="UTC"))


def people(spark: SparkSession, *names: str) -> DataFrame:
    return spark.createDataFrame([(name,) for name in names], "user_id string")


@pytest.mark.parametrize("key", [KEY, b"k" * 64, b"longer than one block" * 9])
def test_the_native_hash_is_the_standard_one(spark: SparkSession, key: bytes) -> None:
    users = ["ada", "", "Łódź 🦊", "x" * 300]
    frame = spark.createDataFrame([(user,) for user in users], "user string")
    found = [row[0] for row in frame.select(keyed_hash(F.col("user"), key)).collect()]
    assert found == [keyed_hash_of(user, key) for user in users]
    assert frame.select(keyed_hash(F.lit(None).cast("string"), key)).first() == (None,)


def test_a_record_of_an_erased_person_keeps_its_place_and_nothing_else() -> None:
    rows = validated(
        (None, "ada", b'{"user_id":"ada"}', b"ada"),
        ("bad_timestamp", None, b'{"user_id":"ada","timestamp":1}', b"other"),
        ("not_json", None, b"{", b"ada"),
        (None, "bob", b'{"user_id":"bob"}', None),
        ("tombstone", None, None, None),
    )
    found = Guard(frozenset({keyed_hash_of("ada", KEY)}), KEY).apply(rows)
    names = ("reason", "user_id", "page", "raw", "kafka_key", "detail", "offset")
    kept = [tuple(row.values()) for row in found.select(names).to_pylist()]
    assert found.column_names == VALIDATED.names
    gone = (ERASED_USER, None, None, None, None, None)
    assert kept == [
        *[(*gone, offset) for offset in range(3)],
        (None, "bob", "/a", b'{"user_id":"bob"}', None, "d", 3),
        ("tombstone", None, "/a", None, None, "d", 4),
    ]


def test_records_in_several_pieces_are_guarded_as_in_one() -> None:
    rows = validated((None, "ada", b"{}", b"k"), ("not_json", None, b"{ada", b"ada"), (None, "bob", b"{}", None))
    pieces = pa.concat_tables([rows.slice(0, 1), rows.slice(1)])
    for guard in (Guard(frozenset({keyed_hash_of("ada", KEY)}), KEY), Guard(key=KEY, pseudonyms=True)):
        assert guard.apply(pieces).to_pylist() == guard.apply(rows).to_pylist()


def test_under_another_key_nobody_is_known(spark: SparkSession) -> None:
    rows = people(spark, "ada")
    assert without_erased(rows, {keyed_hash_of("ada", KEY)}, KEY).isEmpty()
    assert without_erased(rows, {keyed_hash_of("ada", b"another key 1234")}, KEY).count() == 1
    assert without_erased(rows, (), b"").count() == 1


def test_pseudonyms_replace_the_id_and_leave_no_bytes_as_they_came() -> None:
    rows = validated((None, "ada", b'{"user_id":"ada"}', b"ada"), ("not_json", None, b"{ada", b"ada"))
    first, second = Guard(key=KEY, pseudonyms=True).apply(rows).to_pylist()
    assert first["user_id"] == keyed_hash_of("ada", KEY)
    assert second["user_id"] is None
    assert {row[name] for row in (first, second) for name in ("raw", "kafka_key", "headers", "detail")} == {None}


def test_of_fields_that_are_pseudonyms_nothing_is_left_as_it_came() -> None:
    about = [("ip", "203.0.113.9:80"), ("plan", "gold")]
    known = [
        {"user_id": "ada", "ip": "203.0.113.9", "device_id": "phone", "country": "DE", "raw": b"1"},
        {"user_id": "bob", "properties": about, "raw": b"2"},
        {"user_id": "eve", "properties": [("plan", "gold")], "raw": b"3"},
        {"reason": "not_json", "raw": b"{203.0.113.9", "detail": "starts with: {203.0.113.9"},
    ]
    place = {"topic": "t", "partition": 0, "ingest_id": "q:0"}
    rows = pa.Table.from_pylist(
        [{**place, "offset": number, **one} for number, one in enumerate(known)],
        schema=to_arrow_schema(VALIDATED, timezone="UTC"),
    )
    ada, bob, eve, broken = Guard(key=KEY, fields=("ip", "device_id")).apply(rows).to_pylist()
    assert (ada["ip"], ada["device_id"]) == (keyed_hash_of("203.0.113.9", KEY), keyed_hash_of("phone", KEY))
    assert (ada["user_id"], ada["country"], ada["raw"]) == ("ada", "DE", None)
    assert dict(bob["properties"]) == {"ip": keyed_hash_of("203.0.113.9:80", KEY), "plan": "gold"}
    assert bob["raw"] is None
    assert (eve["raw"], dict(eve["properties"])) == (b"3", {"plan": "gold"})
    assert (broken["raw"], broken["detail"]) == (None, None)


def guarded(guard: Guard, *rows: dict[str, Any]) -> list[dict[str, Any]]:
    place = {"topic": "t", "partition": 0, "ingest_id": "q:0"}
    full = [{**place, "offset": number, **one} for number, one in enumerate(rows)]
    known = pa.Table.from_pylist(full, schema=to_arrow_schema(VALIDATED, timezone="UTC"))
    kept: list[dict[str, Any]] = guard.apply(known).to_pylist()
    return kept


def test_an_erased_id_is_forgotten_as_what_somebody_else_was_called_before() -> None:
    guard = Guard(frozenset({keyed_hash_of("x", KEY)}), KEY)
    ada, bob, eve = guarded(
        guard,
        {"user_id": "ada", "anonymous_id": "x", "raw": b"1"},
        {"user_id": "bob", "anonymous_id": "y", "raw": b"2"},
        {"user_id": "x", "raw": b"3"},
    )
    assert (ada["user_id"], ada["anonymous_id"], ada["raw"], ada["reason"]) == ("ada", None, None, None)
    assert (bob["anonymous_id"], bob["raw"]) == ("y", b"2")
    assert (eve["reason"], eve["user_id"]) == ("erased_user", None)


def test_pseudonyms_of_both_ids_are_hashes_and_a_name_of_nobody_links_nothing_as_a_hash_either() -> None:
    guard = Guard(key=KEY, pseudonyms=True, fields=("anonymous_id",))
    ids = [("ada", "x"), ("x", None), ("ada", "undefined"), ("null", "x")]
    kept = guarded(guard, *[{"user_id": user, "anonymous_id": anonymous} for user, anonymous in ids])
    ada, x, nobody = (keyed_hash_of(one, KEY) for one in ("ada", "x", "null"))
    found = [(row["user_id"], row["anonymous_id"]) for row in kept]
    assert found == [(ada, x), (x, None), (ada, None), (nobody, None)]


def test_linked_ids_of_the_erased_are_theirs_alone_or_others_too() -> None:
    links = Links.of([
        Link("ada", "x", 1), Link("ada", "shared", 1), Link("bob", "shared", 3), Link("ada", "once", 1),
        Link("eve", "once", 2), Link("eve", "once", 9, UNDONE), Link("ada", "of erased", 2), Link(None, "of erased", 1),
        Link("bob", "y", 1),
    ])  # fmt: skip
    found = LinkedIds.of({"ada", "y"}, links)
    assert found == LinkedIds(same=["once", "x"], shared=["of erased", "shared"], borrowers=["bob"])
    assert any("--linked" in sentence for sentence in found.sentences(are_erased=False))
    assert LinkedIds.of({"ada", "bob"}, links).same == ["once", "shared", "x", "y"]
    assert LinkedIds.of({"zoe"}, links).sentences(are_erased=False) == []


def records(*rows: tuple[bytes | None, bytes | None]) -> pa.Table:
    """Of raw, kafka_key."""
    kinds = pa.schema({
        "reason": pa.string(), "user_id": pa.string(), "detail": pa.string(), "raw": pa.binary(),
        "kafka_key": pa.binary(), "headers": pa.list_(pa.struct({"key": pa.string(), "value": pa.binary()})),
        "part": pa.int32(), "anonymous_id": pa.string(),
    })  # fmt: skip
    known = [{"reason": "not_json", "raw": raw, "kafka_key": key} for raw, key in rows]
    return pa.Table.from_pylist(known, schema=kinds)


NAMED_SHORT = [
    (b'{"user_id":"7"', b"k"), (b'{"n":77}', b"7"), (b'{"user_id" : "7", "timestamp": 1}', None),
    (b'{"user_id":7', None), (b'{"user_id":"\\u0037"}', None),
]  # fmt: skip


def test_a_short_id_is_found_as_a_string_of_its_own_and_a_long_one_anywhere() -> None:
    rows = records(*NAMED_SHORT, (b'{"n":77}', b"k"), (None, None), (b"GET /u/xperson-123456y HTTP", None))
    assert People(["7"]).of_records(rows).to_pylist() == [True] * 5 + [False] * 3
    assert People(["person-123456"]).of_records(rows).to_pylist() == [False] * 7 + [True]


def test_of_a_record_that_comes_after_the_erasure_no_bytes_are_kept_where_they_name_the_person() -> None:
    broken = [
        b'{"user_id":"person-123456","page"',
        b'{"user_id":"person-123',
        b"GET /u/person-123456?a=b HTTP/1.1",
        b"nothing",
        b"{'who':'person-123456'}",
        b'{"a":"person-\\u0031\\u00323456"',
        b"id=person-123456;x",
        b"\xff\xfe person-123456",
    ]
    rows = records(*NAMED_SHORT, *[(raw, b"k") for raw in broken])
    erased = frozenset(keyed_hash_of(one, KEY) for one in ("7", "person-123456"))
    kept = Guard(erased, KEY).apply(rows)
    assert kept["reason"].to_pylist() == [ERASED_USER if place not in (6, 8) else "not_json" for place in range(13)]
    assert [raw for raw in kept["raw"].to_pylist() if raw] == [broken[1], broken[3]]


def test_of_several_events_in_a_record_the_persons_go_and_the_others_keep_no_bytes_that_name_the_person() -> None:
    rows = validated(
        (None, "ada", b'{"user_id":"ada"}', b"ada"),
        (None, "bob", b'{"user_id":"bob"}', b"ada"),
        (None, "eve", b'{"user_id":"eve","by":"ada"}', b"k"),
        (None, "zoe", b'{"user_id":"zoe"}', b"k"),
        ("missing_field", None, b'{"by":"ada"}', b"k"),
        (None, "bob", b'{"user_id":"bob"}', b"ada"),
    )
    part = pa.array([1, 2, 3, 4, 5, None], pa.int32())
    rows = rows.set_column(rows.column_names.index("part"), "part", part)
    kept = Guard(frozenset({keyed_hash_of("ada", KEY)}), KEY).apply(rows)
    assert kept["user_id"].to_pylist() == [None, "bob", "eve", "zoe", None, None]
    assert kept["reason"].to_pylist() == [ERASED_USER, None, None, None, ERASED_USER, ERASED_USER]
    assert kept["raw"].to_pylist() == [None, None, None, b'{"user_id":"zoe"}', None, None]
    assert kept["kafka_key"].to_pylist() == [None, None, None, b"k", None, None]
    assert kept["part"].to_pylist() == part.to_pylist()


def test_one_of_many_people_is_found_inside_of_other_text_as_by_comparing_each() -> None:
    chance = np.random.default_rng(3)

    def text(longest: int) -> str:
        return "".join(chance.choice(list('ab"é'), chance.integers(0, longest)))

    for _ in range(300):
        ids, texts = ["zz" + text(4) for _ in range(5)], [text(60) + "zz" + text(60) for _ in range(4)]
        by_each = [any(one in other for one in ids) for other in texts]
        found = People(ids, anywhere=True).named_in([other.encode() for other in texts])
        assert all(found[by_each]), (ids, texts)


def test_looking_for_a_hundred_thousand_people_takes_the_time_of_the_text() -> None:
    people = People(f"customer-{number:07d}" for number in range(100_000))
    texts = [b'{"user_id":"customer-%07d","page":"/x"' % number for number in range(99_900, 101_000)]
    assert people.named_in(texts).sum() == 100


def test_whom_to_erase_is_named_on_the_line_or_in_a_file_and_each_once(tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.write_text("ada\nŁódź 🦊\n\nbob\n", encoding="utf-8")
    assert users_of(["bob", "zoe"], file) == ["bob", "zoe", "ada", "Łódź 🦊"]
    for named, listed, said in [
        ([], None, "Nobody is named"),
        ([" "], None, "blank"),
        ([], tmp_path, "cannot be read"),
    ]:
        with pytest.raises(UsageError, match=said):
            users_of(named, listed)


def test_a_broker_that_is_away_is_said_and_ends_no_erasure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_records, "ANSWER_SECONDS", 1)
    kafka = load_settings("local", ["kafka.bootstrap_servers=127.0.0.1:1"]).kafka
    with pytest.raises(EnvironmentProblem, match=r"Kafka at 127\.0\.0\.1:1 could not be asked to delete"):
        KafkaErasure(kafka).alerts(People(["ada"]))
