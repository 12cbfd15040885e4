"""Funnels that nobody wrote down: ends that people come to late and seldom, and the steps that lead there.

An *end* is an act (an action on a kind of page) of some people, but not of most, that comes late in the sessions it is
in. The steps before it are acts that most who reach it did before, and that make reaching it likelier.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb

from journeys.acts import Acts, Traffic
from journeys.definitions import Funnel, Step
from journeys.steps import make_steps
from patterns.pages import NOTHING_KNOWN, OTHER, PageKinds
from patterns.words import page_words

MOST_PEOPLE = 0.4
"""What a larger share of all people does is no end."""
LATE = 0.5
"""Mean place of an end in its sessions, 0 (first) to 1 (last)."""
SHARED, LIFT = 0.5, 1.2
"""A step before an end is one that so many of its sessions have, and that makes the end so many times as likely."""
MOST_BEFORE = 3
MOST_PROPOSED = 3


@dataclass(frozen=True)
class End:
    """An act that people come to, and how.

    Attributes:
        people: who did it.
        place: mean of the first time in its sessions, 0 to 1.
    """

    action: str
    kind: str
    people: int
    place: float


def propose(
    acts: Acts,
    since: datetime,
    until: datetime,
    *,
    traffic: Traffic = "ordinary",
    kinds: PageKinds = NOTHING_KNOWN,
    least_users: int = 3,
) -> list[Funnel]:
    """Funnels within a session, the longest way to the rarest end first; none where nothing leads anywhere."""
    with acts.opened(since, until, traffic) as connection:
        make_steps(connection, kinds, least_users)
        connection.execute(_FIRSTS)
        found: dict[tuple[Step, ...], Funnel] = {}
        led: set[tuple[str, str]] = set()
        ways = [(end, _before(connection, end)) for end in _ends(connection, least_users)]
        for end, before in sorted(ways, key=lambda way: (-len(way[1]), way[0].people)):
            if before and (end.action, end.kind) not in led:
                steps = tuple(_step(*act) for act in (*before, (end.action, end.kind)))
                name = f"to {page_words(end.kind)}"
                used = {funnel.name for funnel in found.values()}
                found[steps] = Funnel(name if name not in used else f"{end.action} on {page_words(end.kind)}", steps)
                led |= {*before, (end.action, end.kind)}
            if len(found) == MOST_PROPOSED:
                break
    return list(found.values())


_FIRSTS = """
    CREATE TEMP TABLE firsts AS
    SELECT user_id, session, action, kind, min(n) AS first, any_value(length) AS length
    FROM steps JOIN (SELECT user_id, session, max(n) AS length FROM steps GROUP BY ALL) USING (user_id, session)
    WHERE length > 1
    GROUP BY user_id, session, action, kind
"""


def _ends(connection: duckdb.DuckDBPyConnection, least_users: int) -> list[End]:
    rows = connection.execute(
        """
        SELECT action, kind, count(DISTINCT user_id) AS people, avg((first - 1) / (length - 1)) AS place
        FROM firsts WHERE kind <> $other GROUP BY action, kind
        HAVING people >= $least AND place >= $late
            AND people <= $most * (SELECT count(DISTINCT user_id) FROM firsts)
        ORDER BY place * (1 - people / (SELECT count(DISTINCT user_id) FROM firsts)) DESC, action, kind
        LIMIT 20
        """,
        {"other": OTHER, "least": least_users, "late": LATE, "most": MOST_PEOPLE},
    ).fetchall()
    return [End(*row) for row in rows]


def _before(connection: duckdb.DuckDBPyConnection, end: End) -> list[tuple[str, str]]:
    """Acts that lead to an end, in the order in which they mostly come; one for each kind of page."""
    rows: list[tuple[Any, ...]] = connection.execute(
        """
        WITH reached AS (
                SELECT user_id, session, first AS reached_at FROM firsts WHERE action = $action AND kind = $kind
            ),
            sessions AS (SELECT count(*) AS every FROM (SELECT DISTINCT user_id, session FROM firsts)),
            led AS (
                SELECT f.action, f.kind, count(*) AS did,
                        count(reached_at) FILTER (WHERE f.first < reached_at) AS then_reached,
                    avg(f.first / reached_at) FILTER (WHERE f.first < reached_at) AS place
                FROM firsts AS f LEFT JOIN reached USING (user_id, session)
                WHERE f.kind <> $other AND f.kind <> $kind GROUP BY f.action, f.kind
            )
        SELECT action, kind, then_reached, place FROM led, sessions, (SELECT count(*) AS reached FROM reached)
        WHERE then_reached >= $shared * reached
            AND then_reached / did >= $lift * reached / every
        ORDER BY then_reached DESC, action, kind
        """,
        {"action": end.action, "kind": end.kind, "other": OTHER, "shared": SHARED, "lift": LIFT},
    ).fetchall()
    chosen: dict[str, tuple[float, str]] = {}
    for action, kind, _, place in rows:
        if kind not in chosen and len(chosen) < MOST_BEFORE:
            chosen[kind] = (place, action)
    return [(action, kind) for kind, (_, action) in sorted(chosen.items(), key=lambda item: (item[1][0], item[0]))]


def _step(action: str, kind: str) -> Step:
    return Step(f"{action} {kind}", (action,), (kind,))
