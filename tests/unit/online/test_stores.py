"""Stores of the online view: the newest revision wins in any order, and what is forgotten is gone."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.errors import EnvironmentProblem
from online.redis_store import RedisStore
from online.sqlite_store import SqliteStore
from online.store import Entry, Kept, Store

REVISIONS = st.lists(
    st.tuples(st.sampled_from(["ada", "bob ", "ł:🦊", ""]), st.sampled_from(["minute", "score"]), st.integers(0, 3)),
    max_size=30,
)


def everything(store: Store, user: str) -> dict[str, list[Kept]]:
    return store.of([user], {"minute": 10, "score": 10})


@given(REVISIONS, st.randoms(use_true_random=False), st.integers(1, 4))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_order_entries_come_in_the_newest_revision_of_each_is_kept(
    store: Store, written: list[tuple[str, str, int]], chance: random.Random, parts: int
) -> None:
    store.clear()
    entries = [
        Entry(user, kind, f"{place:012d}", revision, b'"%d"' % revision)
        for revision, (user, kind, place) in enumerate(written)
    ]
    expected: dict[tuple[str, str], dict[str, bytes]] = {}
    for one in entries:
        expected.setdefault((one.user, one.kind), {})[one.place] = one.body
    mixed = [*entries, *chance.sample(entries, len(entries) // 2)]  # some come twice
    chance.shuffle(mixed)
    for part in range(parts):
        store.put(mixed[part::parts], {"features": str(part)})
    for user in {one.user for one in entries}:
        found = everything(store, user)
        for kind in ("minute", "score"):
            kept = sorted(expected.get((user, kind), {}).items(), reverse=True)
            assert [(one.place, one.body) for one in found[kind]] == kept
    assert store.noted() == {"features": str(parts - 1)}


def test_only_as_many_as_asked_for_come_the_newest_first_of_all_names_of_a_person(store: Store) -> None:
    for user in ("ada", "hash of ada", "bob"):
        store.put([Entry(user, "minute", f"{n:012d}{user}", 1, b"%d" % n) for n in range(5)], {})
    found = store.of(["ada", "hash of ada"], {"minute": 3, "alert": 2})
    assert [one.body for one in found["minute"]] == [b"4", b"4", b"3"]
    assert found["alert"] == []


def test_who_is_forgotten_is_gone_and_nobody_else(store: Store) -> None:
    store.put([Entry(user, "score", "", 1, user.encode()) for user in ("ada", "bob", "cyd")], {"scores": "3"})
    store.forget({"ada", "cyd", "nobody"})
    assert [everything(store, user)["score"] for user in ("ada", "bob", "cyd")] == [[], [Kept("", b"bob")], []]
    assert store.noted() == {"scores": "3"}
    store.clear()
    assert everything(store, "bob")["score"] == []
    assert store.noted() == {}


def test_what_is_old_expires_by_kind(store: Store) -> None:
    store.put([Entry("ada", kind, f"{n:012d}", 1, b"1") for kind in ("minute", "score") for n in (5, 6, 7)], {})
    store.expire({"minute": f"{6:012d}"})
    found = everything(store, "ada")
    assert [len(found[kind]) for kind in ("minute", "score")] == [2, 3]


def test_no_byte_of_who_is_forgotten_is_left_in_files_beside_a_reader_of_another_connection(tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path / "online.db"))
    reader = SqliteStore(str(tmp_path / "online.db"), read_only=True)
    body = b'"a secret of theirs"'
    for number in range(50):
        store.put([Entry("person-17", "minute", f"{number:012d}", number, body * 30), *others(number)], {})
        assert reader.of(["person-17"], {"minute": 100})["minute"]
    held = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"a secret of theirs" in held
    assert b"person-17" in held
    store.forget(["person-17"])
    held = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"a secret of theirs" not in held
    assert b"person-17" not in held
    assert reader.of(["other-3"], {"minute": 100})["minute"]


def others(number: int) -> list[Entry]:
    return [Entry(f"other-{user}", "minute", f"{number:012d}", number, b"1" * 200) for user in range(20)]


def test_many_read_while_one_writes(store: Store) -> None:
    def read(_: int) -> int:
        return len(store.of(["ada"], {"minute": 1000})["minute"])

    with ThreadPoolExecutor(4) as pool:
        reading = pool.map(read, range(200))
        for number in range(100):
            store.put([Entry("ada", "minute", f"{number:012d}", 1, b"1")], {"at": str(number)})
        assert max(reading) <= 100
    assert read(0) == 100


def test_a_store_that_cannot_be_used_is_a_sentence(tmp_path: Path) -> None:
    damaged = tmp_path / "online.db"
    damaged.write_bytes(b"this is no database, and long enough to be looked at" * 100)
    with pytest.raises(EnvironmentProblem, match=r"fill_online --anew"):
        SqliteStore(str(damaged))
    with pytest.raises(EnvironmentProblem, match="Redis, which holds the online view"):
        RedisStore("redis://127.0.0.1:1/0").noted()
    assert SqliteStore(str(tmp_path / "nothing.db"), read_only=True).of(["ada"], {"minute": 1}) == {}
