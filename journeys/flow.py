"""Where people come from and where they go: the kinds of pages before and after one, or at the ends of sessions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from journeys.acts import Acts, Traffic
from journeys.steps import make_steps
from patterns.pages import END, NOTHING_KNOWN, START, PageKinds

MOST_WAYS = 8


@dataclass(frozen=True)
class Way:
    """A neighbour of a kind of page.

    Attributes:
        kind: of page; :data:`patterns.pages.START` or :data:`patterns.pages.END` where there is none.
        visits: how often it comes right before (after) it; several pages of a kind in a row are one visit.
        share: of the visits of the kind that is looked at, 0 to 1.
        people: whose visits these are.
    """

    kind: str
    visits: int
    share: float
    people: int


@dataclass(frozen=True)
class Flow:
    """Of a kind of page what comes before and after, the commonest first, and all kinds by visits."""

    kind: str | None
    visits: int
    people: int
    before: tuple[Way, ...]
    after: tuple[Way, ...]
    kinds: tuple[tuple[str, int], ...]


def flow(
    acts: Acts,
    kind: str | None,
    since: datetime,
    until: datetime,
    *,
    traffic: Traffic = "ordinary",
    kinds: PageKinds = NOTHING_KNOWN,
    least_users: int = 3,
) -> Flow:
    """The way through a kind of page; where it is None or is not there, through the one most visited.

    Args:
        least_users: ways of fewer people are theirs and are not told; their visits count all the same.
    """
    with acts.opened(since, until, traffic) as connection:
        make_steps(connection, kinds, least_users)
        connection.execute(
            f"""
            CREATE TEMP TABLE ways AS
            SELECT user_id, kind, coalesce(lag(kind) OVER w, '{START}') AS before,
                coalesce(lead(kind) OVER w, '{END}') AS after
            FROM moves WINDOW w AS (PARTITION BY user_id, session ORDER BY n)
            """
        )
        known = connection.execute(
            "SELECT kind, count(*) AS visits FROM ways GROUP BY kind HAVING count(DISTINCT user_id) >= ? "
            "ORDER BY visits DESC, kind",
            [least_users],
        ).fetchall()
        names = [name for name, _ in known]
        chosen = kind if kind in names else next(iter(names), None)
        sides = []
        for side in ("before", "after"):
            rows = connection.execute(
                f"""
                SELECT {side}, count(*) AS visits, count(*) / sum(count(*)) OVER () AS share,
                    count(DISTINCT user_id) AS people
                FROM ways WHERE kind = ? GROUP BY {side}
                QUALIFY people >= ? ORDER BY visits DESC, {side} LIMIT {MOST_WAYS}
                """,
                [chosen, least_users],
            ).fetchall()
            sides.append(tuple(Way(*row) for row in rows))
        people = connection.execute("SELECT count(DISTINCT user_id) FROM ways WHERE kind = ?", [chosen]).fetchone()
    assert people is not None
    return Flow(chosen, dict(known).get(chosen, 0), people[0], sides[0], sides[1], tuple(known))
