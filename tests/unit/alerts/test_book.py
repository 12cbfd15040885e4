"""Laws of alerts: what arrives in which order, late or twice does not matter, only the newest revisions do."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.book import Alert, AlertBook, AlertRules, alert_id_of

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
RULES = AlertRules(session_gap_minutes=30, worse_by=0.01)


def at(minute: float) -> datetime:
    return NOON + timedelta(minutes=minute)


def row(
    minute: int, score: float | None, *, user: str = "ada", session: int = 0, written: int = 0, percentile: float = 99.0
) -> dict[str, Any]:
    """A row of scores; flagged from 0.5 on."""
    flagged = score is not None and score >= 0.5
    return {
        "user_id": user, "window_start": at(minute), "session_start": at(session),
        "verdict": "anomaly" if flagged else "normal", "anomaly_score": score, "anomaly_percentile": percentile,
        "reasons": [{"text": f"minute {minute}"}] if flagged else None, "model_version": "1",
        "batch_time": at(minute + written), "batch_id": f"q:{written}",
    }  # fmt: skip


def told(book: AlertBook, rows: Iterable[dict[str, Any]], clock: float) -> list[Alert]:
    book.take(rows)
    return book.revise(at(clock), at(clock))


def short(alerts: Iterable[Alert]) -> list[tuple[int, str, int, float]]:
    return [(a.revision, a.state, a.flagged_minutes, a.anomaly_score) for a in alerts]


def test_one_alert_for_a_session_that_is_raised_worsens_and_ends() -> None:
    book = AlertBook(RULES)
    seen = [told(book, [row(0, 0.4)], 0), told(book, [row(1, 0.6)], 1), told(book, [row(2, 0.7)], 2)]
    seen += [told(book, [row(3, 0.4)], 3), told(book, [], 34), told(book, [], 35), told(book, [], 500)]
    assert [short(one) for one in seen] == [
        [], [(1, "open", 1, 0.6)], [(2, "open", 2, 0.7)], [], [], [(3, "closed", 2, 0.7)], []
    ]  # fmt: skip
    closed = seen[5][0]
    assert (closed.window_start, closed.first_window_start, closed.session_end) == (at(2), at(1), at(3))
    assert (closed.reasons, closed.raised_at) == ([{"text": "minute 2"}], at(1))
    assert len({alert.alert_id for one in seen for alert in one}) == 1


def test_a_session_that_goes_on_unflagged_keeps_its_alert_open() -> None:
    book = AlertBook(RULES)
    told(book, [row(0, 0.9)], 0)
    assert told(book, [row(25, 0.1)], 25) == []
    assert told(book, [row(50, 0.1)], 50) == []
    assert short(told(book, [], 82)) == [(2, "closed", 1, 0.9)]


def test_a_later_session_of_the_user_ends_the_one_before() -> None:
    book = AlertBook(RULES)
    told(book, [row(0, 0.9)], 0)
    assert short(told(book, [row(31, 0.1, session=31)], 31)) == [(2, "closed", 1, 0.9)]


def test_a_minute_revised_slightly_is_no_news_and_revised_much_is() -> None:
    book = AlertBook(RULES)
    told(book, [row(0, 0.60)], 0)
    assert told(book, [row(0, 0.605, written=1)], 0) == []
    assert short(told(book, [row(0, 0.612, written=2)], 0)) == [(2, "open", 1, 0.612)]


def test_small_steps_that_add_up_are_news() -> None:
    book = AlertBook(RULES)
    told(book, [row(0, 0.600)], 0)
    news = [told(book, [row(0, 0.600 + 0.004 * step, written=step)], 0) for step in range(1, 4)]
    assert [len(one) for one in news] == [0, 0, 1]


def test_a_verdict_that_is_taken_back_withdraws_the_alert() -> None:
    book = AlertBook(RULES)
    told(book, [row(0, 0.6)], 0)
    assert short(told(book, [row(0, 0.3, written=1)], 1)) == [(2, "withdrawn", 0, 0.6)]
    assert told(book, [], 100) == []
    assert short(told(book, [row(0, 0.8, written=2)], 2)) == [(3, "open", 1, 0.8)]


def test_two_sessions_that_a_late_event_joins_become_one_alert() -> None:
    book = AlertBook(RULES)
    first = told(book, [row(0, 0.6), row(40, 0.7, session=40)], 41)
    assert short(first) == [(1, "closed", 1, 0.6), (1, "open", 1, 0.7)]
    joined = told(book, [row(20, 0.1, written=1), row(40, 0.7, session=0, written=1)], 42)
    assert short(joined) == [(2, "open", 2, 0.7), (2, "merged", 1, 0.7)]
    assert [alert.merged_into for alert in joined] == [None, first[0].alert_id]


def test_a_session_that_starts_earlier_than_thought_takes_its_alert_along() -> None:
    book = AlertBook(RULES)
    (old,) = told(book, [row(10, 0.9, session=10)], 10)
    new, gone = told(book, [row(0, 0.2), row(10, 0.9, written=1)], 11)
    assert (new.session_start, new.state, new.alert_id) == (at(0), "open", alert_id_of("ada", at(0)))
    assert (gone.alert_id, gone.state, gone.merged_into) == (old.alert_id, "merged", new.alert_id)


def test_two_users_in_one_session_minute_have_an_alert_each() -> None:
    book = AlertBook(RULES)
    alerts = told(book, [row(0, 0.9), row(0, 0.9, user="bob")], 0)
    assert len({alert.alert_id for alert in alerts}) == 2


def test_who_was_never_flagged_is_not_kept_in_memory() -> None:
    book = AlertBook(RULES)
    book.take([row(n, 0.1, user=f"user {n}") for n in range(50)])
    assert not book.watched()


def test_what_was_forgotten_stays_as_it_is_and_a_late_row_asks_for_the_rest() -> None:
    book = AlertBook(RULES)
    rows = [row(0, 0.6), row(1, 0.7), row(600, 0.8, session=600)]
    told(book, rows, 600)
    book.forget(at(500), at(-9000))
    assert told(book, [row(601, 0.8, session=600)], 601)[0].session_start == at(600)
    book.take([row(2, 0.9)])
    assert book.out_of_sight() == {"ada": at(0)}
    book.load("ada", rows, at(-480))
    assert book.out_of_sight() == {}
    assert short(book.revise(at(602), at(602))) == [(2, "closed", 3, 0.9)]


rows_of_a_user = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 1), st.sampled_from([0.1, 0.6, 0.9])), min_size=1, max_size=8
)


@settings(max_examples=60)
@given(rows_of_a_user, st.randoms(use_true_random=False))
def test_order_repetition_and_batches_do_not_change_what_is_true_at_the_end(
    revisions: list[tuple[int, int, float]], chance: random.Random
) -> None:
    """Every revision has its own place in time; taken in one piece, or shuffled, doubled and in parts, is the same."""
    rows = [
        {**row(minute, score, session=-session), "batch_time": at(place), "batch_id": "q"}
        for place, (minute, session, score) in enumerate(revisions)
    ]
    whole, parts = AlertBook(RULES), AlertBook(RULES)
    told(whole, rows, 1000)
    shuffled = [*rows, *rows[: len(rows) // 2]]
    chance.shuffle(shuffled)
    # Who has not been flagged yet is not in memory, so the flagged rows of a person come first here.
    shuffled.sort(key=lambda one: one["verdict"] != "anomaly")
    while shuffled:
        size = chance.randint(1, len(shuffled))
        told(parts, shuffled[:size], 1000)
        shuffled = shuffled[size:]
    assert standing(whole) == standing(parts)


def standing(book: AlertBook) -> list[Alert]:
    found = [alert for alerts in book.alerts.values() for alert in alerts.values()]
    return sorted(
        # session_end is that of the newest revision: a session that merely goes on is no news.
        (replace(a, revision=0, raised_at=NOON, session_end=NOON) for a in found if a.state in ("open", "closed")),
        key=lambda alert: alert.alert_id,
    )
