"""What is lent follows from the set of links alone, and a device that two people log in on is nobody's."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features import identities
from features.identities import FOREVER, RESTORED, TOLD_BY, UNDONE, Link, Links, Loan, links_in, rows_of
from features.tables import EVENTS
from lake.schemas import arrow_schema

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = int(NOON.timestamp()) // 60
SCHEMA = pa.schema([arrow_schema(EVENTS).field(name) for name in TOLD_BY])

links = st.lists(
    st.builds(Link, st.sampled_from(["ada", "bob", "eve", None]), st.sampled_from(["x", "y"]), st.integers(0, 9)),
    max_size=12,
)


def told_by(*events: tuple[str | None, str | None, float]) -> list[Link]:
    rows = [dict(zip(TOLD_BY, (*ids, NOON + timedelta(minutes=at), "web"), strict=True)) for *ids, at in events]
    return rows_of(links_in(pa.Table.from_pylist(rows, SCHEMA)))


def test_the_earliest_event_with_both_ids_is_the_link() -> None:
    found = told_by(("ada", "x", 7.5), ("ada", None, 0), ("ada", "x", 2.9), ("bob", "x", 3), ("x", "x", 0))
    assert sorted(found) == [Link("ada", "x", MINUTE + 2, "web"), Link("bob", "x", MINUTE + 3, "web")]


@pytest.mark.parametrize(
    "nobody", ["undefined", "NULL", "-", "", " ", "0", "00000000-0000-0000-0000-000000000000", "anonymous", None]
)
def test_a_name_of_nobody_links_nothing_on_either_side(nobody: str | None) -> None:
    assert told_by(("ada", nobody, 0), (nobody, "x", 0)) == []


def lends_to(some: list[Link], anonymous: str, minute: int) -> str | None:
    """Word for word: the only user who has been linked to it by then."""
    by_then = {link.user_id for link in some if link.anonymous_id == anonymous and link.minute <= minute}
    return by_then.pop() if len(by_then) == 1 else None


@given(links, st.randoms(use_true_random=False))
def test_links_that_come_late_doubled_or_in_any_parts_lend_the_same(some: list[Link], chance: random.Random) -> None:
    shuffled = [*some, *chance.sample(some, len(some) // 2)]
    chance.shuffle(shuffled)
    known = Links()
    for link in shuffled:
        known.add(known.news([link]))
    assert set(known.loans()) == set(Links.of(some).loans())
    for anonymous in ("x", "y"):
        loan = known.loan(anonymous)
        for minute in range(10):
            borrower = loan.user if loan is not None and loan.bears_on(minute, minute) else None
            assert borrower == lends_to(some, anonymous, minute)


@given(links, links)
def test_a_change_names_all_rows_whose_lender_is_another_now(some: list[Link], more: list[Link]) -> None:
    known = Links.of(some)
    named = {
        (loan.lender, loan.user, minute)
        for change in known.add(known.news(more))
        for loan in change.rows()
        for minute in range(10)
        if loan.bears_on(minute, minute)
    }
    for anonymous in ("x", "y"):
        for minute in range(10):
            before, after = (lends_to(those, anonymous, minute) for those in (some, some + more))
            changed = {user for user in (before, after) if user is not None} if before != after else set()
            assert {user for lender, user, at in named if (lender, at) == (anonymous, minute)} == changed


def test_what_is_known_already_is_no_news() -> None:
    known = Links.of([Link("ada", "x", 5)])
    assert known.news([Link("ada", "x", 5), Link("ada", "x", 9), Link("ada", "x", 4), Link("ada", "x", 3)]) == [
        Link("ada", "x", 3)
    ]


def test_a_link_that_was_undone_is_as_if_it_had_never_been_until_it_is_restored() -> None:
    links = [Link("ada", "x", 1), Link("bob", "x", 4), Link("ada", "x", 9, UNDONE)]
    assert list(Links.of(links).loans()) == [Loan("x", "bob", 4, FOREVER)]
    again = Links.of(links)
    assert again.add([Link("ada", "x", 0)]) == []
    assert list(Links.of([*links, Link("ada", "x", 9, RESTORED)]).loans()) == [Loan("x", "ada", 1, 4)]


def test_somebody_who_was_erased_keeps_others_from_what_was_his() -> None:
    assert list(Links.of([Link(None, "x", 1), Link("bob", "x", 4)]).loans()) == []


def test_a_program_that_acts_for_many_is_lent_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identities, "MOST_IDS", 2)
    known = Links.of([Link("app", "x", 1), Link("app", "y", 1), Link("ada", "z", 1)])
    assert {loan.lender for loan in known.loans_to("app")} == {"x", "y"}
    changes = known.add([Link("app", "w", 5)])
    assert sorted(loan.lender for change in changes for loan in change.rows()) == ["x", "y"]
    assert list(known.loans()) == [Loan("z", "ada", 1, FOREVER)]
    assert list(known.loans_to("app")) == []
