"""Limiting clients: a bucket of tokens for each."""

from __future__ import annotations

import pytest

from serving.access.rate_limits import Buckets, client_of


def test_a_bucket_gives_all_tokens_or_none_and_says_when() -> None:
    now = [0.0]
    buckets = Buckets(2, 10, clock=lambda: now[0])
    assert [buckets.take("a", 6), buckets.take("a", 6), buckets.take("a", 4)] == [0, 1, 0]
    assert (buckets.take("a", 1), buckets.take("b", 10)) == (0.5, 0)
    now[0] = 0.5
    assert buckets.take("a", 1) == 0
    now[0] = 1000
    assert (buckets.take("a", 10), buckets.take("a", 1)) == (0, 0.5)


def test_the_buckets_of_many_clients_take_bounded_memory() -> None:
    buckets = Buckets(1, 1, clients=2, clock=lambda: 0.0)
    assert [buckets.take(client, 1) for client in "abab"] == [0, 0, 1, 1]
    assert [buckets.take(client, 1) for client in "cb"] == [0, 1]
    assert buckets.take("a", 1) == 0, "the one not seen for longest was dropped"


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2", True),
        ("", "unknown", False),
    ],
)
def test_whose_bucket_an_address_has(first: str, second: str, same: bool) -> None:
    assert (client_of(first) == client_of(second)) is same
