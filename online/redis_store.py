"""The online view in Redis: for servers on several machines."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar, cast

import redis

from features.errors import EnvironmentProblem
from online.store import Entry, Kept

T = TypeVar("T")
PREFIX = "behavior:"
NOTES = f"{PREFIX}notes"
PERSON = f"{PREFIX}person:"
AT_ONCE = 1000
PUT = """
local before = redis.call('HGET', KEYS[1], ARGV[1])
if before and string.sub(before, 1, 20) > string.sub(ARGV[2], 1, 20) then return 0 end
return redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
"""
"""Keeps a value that begins with its revision in 20 digits, unless a newer one is there."""


class RedisStore:
    """A hash for each person, with a field for each entry: ``KIND PLACE``, and in it revision and body."""

    def __init__(self, url: str) -> None:
        with self._problems():
            self._redis = redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5)
            self._put = self._redis.register_script(PUT)

    def put(self, entries: Iterable[Entry], noted: Mapping[str, str]) -> None:
        with self._problems():
            for part in _parts(entries):
                with self._redis.pipeline(transaction=False) as pipe:
                    for one in part:
                        name, value = f"{one.kind} {one.place}", b"%020d" % one.revision + one.body
                        self._put(keys=[PERSON + one.user], args=[name, value], client=pipe)
                    pipe.execute()
            if noted:
                self._redis.hset(NOTES, mapping=dict(noted.items()))

    def of(self, users: Sequence[str], limits: Mapping[str, int]) -> dict[str, list[Kept]]:
        with self._problems(), self._redis.pipeline(transaction=False) as pipe:
            for user in users:
                pipe.hgetall(PERSON + user)
            found = pipe.execute()
        kept: dict[str, list[Kept]] = {kind: [] for kind in limits}
        for fields in found:
            for name, value in fields.items():
                kind, _, place = name.decode().partition(" ")
                if kind in kept:
                    kept[kind].append(Kept(place, value[20:]))
        return {
            kind: sorted(kept[kind], key=lambda one: one.place, reverse=True)[:limit] for kind, limit in limits.items()
        }

    def noted(self) -> dict[str, str]:
        with self._problems():
            there = cast("dict[bytes, bytes]", self._redis.hgetall(NOTES))
            return {name.decode(): value.decode() for name, value in there.items()}

    def forget(self, users: Collection[str]) -> None:
        with self._problems():
            for part in _parts(users):
                self._redis.unlink(*[PERSON + user for user in part])

    def expire(self, before: Mapping[str, str]) -> None:
        with self._problems():
            for keys in _parts(self._redis.scan_iter(f"{PERSON}*", count=AT_ONCE)):
                with self._redis.pipeline(transaction=False) as pipe:
                    for key in keys:
                        pipe.hkeys(key)
                    names = pipe.execute()
                    for key, fields in zip(keys, names, strict=True):
                        if old := [field for field in fields if _is_before(field, before)]:
                            pipe.hdel(key, *old)
                    pipe.execute()

    def clear(self) -> None:
        with self._problems():
            for keys in _parts(self._redis.scan_iter(f"{PREFIX}*", count=AT_ONCE)):
                self._redis.unlink(*keys)

    def close(self) -> None:
        self._redis.close()

    @contextmanager
    def _problems(self) -> Iterator[None]:
        try:
            yield
        except (redis.RedisError, ValueError) as error:
            raise EnvironmentProblem(f"Redis, which holds the online view, cannot be used: {error}.") from error


def _is_before(field: bytes, before: Mapping[str, str]) -> bool:
    kind, _, place = field.decode().partition(" ")
    return kind in before and place < before[kind]


def _parts(things: Iterable[T]) -> Iterator[tuple[T, ...]]:
    left = iter(things)
    while part := tuple(islice(left, AT_ONCE)):
        yield part
