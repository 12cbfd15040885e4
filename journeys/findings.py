"""What goes wrong on the way: people who click again and again, go back and forth, or leave where others go on."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import duckdb

from journeys.acts import MICROS, Acts, Traffic
from journeys.steps import make_steps
from patterns.pages import NOTHING_KNOWN, OTHER, PageKinds
from patterns.words import page_words

AGAIN, SOON = 4, 1.0
"""So many times the same action on the same page, each within so many seconds of the last one: nothing seems to happen
("rage clicks")."""
ENDED = timedelta(minutes=30)
"""A session with an event as young as this may go on; it is no end."""
SURE = 3.3
"""Standard errors by which more sessions must end on a kind of page than do on all."""
MORE = 1.25
"""... and how many times as many."""
MOST_FOUND = 8
EXAMPLES = 3

What = Literal["again", "back_and_forth", "dead_end"]


@dataclass(frozen=True)
class Finding:
    """One thing that people may stumble over.

    Attributes:
        what: ``again``: the same action on the same page :data:`AGAIN` times in a row, each within :data:`SOON`
            seconds; ``back_and_forth``: one kind of page, another, the first, the other again; ``dead_end``: more
            sessions end there than chance explains.
        places: the kinds of pages.
        action: of ``again``.
        people: to whom it happened.
        share: of the people who came there, 0 to 1; of ``dead_end`` of the sessions.
        usual: of ``dead_end``, the share of sessions that end on a page of any kind they come to.
        examples: some of them.
        text: a sentence.
    """

    what: What
    places: tuple[str, ...]
    action: str | None
    people: int
    share: float
    usual: float | None
    examples: tuple[str, ...]
    text: str


def find(
    acts: Acts,
    since: datetime,
    until: datetime,
    *,
    traffic: Traffic = "ordinary",
    kinds: PageKinds = NOTHING_KNOWN,
    least_users: int = 3,
    meant: Collection[str] = (),
) -> list[Finding]:
    """What was found, of each sort what happened to most people first.

    Args:
        least_users: what happens to fewer people is not told.
        meant: kinds of pages that are meant to be ends, such as the last ones of funnels.
    """
    with acts.opened(since, until, traffic) as connection:
        make_steps(connection, kinds, least_users)
        return [
            *_again(connection, least_users),
            *_back_and_forth(connection, least_users),
            *_dead_ends(connection, least_users, until, meant),
        ]


def _again(connection: duckdb.DuckDBPyConnection, least_users: int) -> list[Finding]:
    rows = connection.execute(
        f"""
        WITH marked AS (
                SELECT *, action = lag(action) OVER w AND page = lag(page) OVER w
                    AND ts - lag(ts) OVER w <= {round(SOON * MICROS)} AS same
                FROM steps WINDOW w AS (PARTITION BY user_id, session ORDER BY n)
            ),
            runs AS (
                SELECT *, count(*) FILTER (WHERE same IS NOT TRUE) OVER w AS run
                FROM marked WINDOW w AS (PARTITION BY user_id, session ORDER BY n)
            ),
            insisted AS (
                SELECT user_id, action, kind FROM runs GROUP BY user_id, session, run, action, kind
                HAVING count(*) >= {AGAIN}
            ),
            came AS (SELECT action, kind, count(DISTINCT user_id) AS all_people FROM steps GROUP BY ALL)
        SELECT action, kind, count(DISTINCT user_id) AS people, any_value(all_people),
            list_slice(list_sort(list_distinct(list(user_id))), 1, {EXAMPLES})
        FROM insisted JOIN came USING (action, kind) WHERE kind <> '{OTHER}'
        GROUP BY action, kind HAVING people >= {least_users} ORDER BY people DESC, action, kind LIMIT {MOST_FOUND}
        """
    ).fetchall()
    return [
        Finding(
            "again", (kind,), action, people, people / of, None, tuple(examples),
            f"{people:,} of {of:,} people did {action} on {page_words(kind)} {AGAIN} times or more in a row, within "
            f"{SOON:g} s of each other: nothing seems to happen there.",
        )
        for action, kind, people, of, examples in rows
    ]  # fmt: skip


def _back_and_forth(connection: duckdb.DuckDBPyConnection, least_users: int) -> list[Finding]:
    rows = connection.execute(
        f"""
        WITH ways AS (
                SELECT user_id, kind AS a, lead(kind) OVER w AS b, lead(kind, 2) OVER w AS c, lead(kind, 3) OVER w AS d
                FROM moves WINDOW w AS (PARTITION BY user_id, session ORDER BY n)
            ),
            forth AS (
                SELECT DISTINCT user_id, least(a, b) AS one, greatest(a, b) AS other
                FROM ways WHERE a = c AND b = d AND a <> '{OTHER}' AND b <> '{OTHER}'
            ),
            saw_both AS (
                SELECT x.user_id, x.kind AS one, y.kind AS other
                FROM (SELECT DISTINCT user_id, session, kind FROM steps) AS x
                JOIN (SELECT DISTINCT user_id, session, kind FROM steps) AS y USING (user_id, session)
                WHERE x.kind < y.kind
            ),
            came AS (SELECT one, other, count(DISTINCT user_id) AS all_people FROM saw_both GROUP BY ALL)
        SELECT one, other, count(*) AS people, any_value(all_people),
            list_slice(list_sort(list(user_id)), 1, {EXAMPLES})
        FROM forth JOIN came USING (one, other)
        GROUP BY one, other HAVING people >= {least_users} ORDER BY people DESC, one, other LIMIT {MOST_FOUND}
        """
    ).fetchall()
    return [
        Finding(
            "back_and_forth", (one, other), None, people, people / of, None, tuple(examples),
            f"{people:,} of {of:,} people who saw both went back and forth between {page_words(one)} and "
            f"{page_words(other)}.",
        )
        for one, other, people, of, examples in rows
    ]  # fmt: skip


def _dead_ends(
    connection: duckdb.DuckDBPyConnection, least_users: int, until: datetime, meant: Collection[str]
) -> list[Finding]:
    over = round((until - ENDED).timestamp() * MICROS)
    rows = connection.execute(
        f"""
        WITH ended AS (
                SELECT user_id, session, max(n) AS last FROM steps GROUP BY ALL HAVING max(ts) < {over}
            ),
            seen AS (
                SELECT user_id, session, kind, max(n) = any_value(last) AS is_last
                FROM steps JOIN ended USING (user_id, session) GROUP BY user_id, session, kind
            )
        SELECT kind, count(*) AS sessions, count(*) FILTER (WHERE is_last) AS ends,
            count(DISTINCT user_id) FILTER (WHERE is_last) AS people,
            list_slice(list_sort(list_distinct(list(user_id) FILTER (WHERE is_last))), 1, {EXAMPLES})
        FROM seen GROUP BY kind ORDER BY ends DESC, kind
        """
    ).fetchall()
    sessions, ends = (sum(row[place] for row in rows) for place in (1, 2))
    found = []
    for kind, there, last, people, examples in rows:
        elsewhere, last_elsewhere = sessions - there, ends - last
        if kind in (OTHER, *meant) or people < least_users or not elsewhere or not last_elsewhere:
            continue
        share, usual, pooled = last / there, last_elsewhere / elsewhere, ends / sessions
        error = math.sqrt(pooled * (1 - pooled) * (1 / there + 1 / elsewhere))
        if share >= MORE * usual and share - usual >= SURE * error > 0:
            text = (
                f"{share:.0%} of the {there:,} sessions that come to {page_words(kind)} end there; of other "
                f"pages it is {usual:.0%}."
            ).replace("%", " %")
            found.append(Finding("dead_end", (kind,), None, people, share, usual, tuple(examples), text))
    return found[:MOST_FOUND]
