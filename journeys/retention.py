"""Who comes back: cohorts by the first day, the days on which they are seen again, and what people are day by day.

Days are UTC. A person's first day is that of the first event that the tables have, or of the first that fits ``first``;
what counts as seen again is any event, or one that fits ``again``. A day is told only once it is over: of those who
came yesterday nobody can have come back on the third day.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import duckdb

from journeys.acts import DAY, MICROS, Acts, Traffic
from journeys.definitions import Step
from journeys.matching import fits

AGES = (1, 2, 3, 4, 5, 6, 7, 14, 21, 28)
"""Days after the first at which a cohort is told."""
MONTH = 28


@dataclass(frozen=True)
class Cohort:
    """The people of one first day.

    Attributes:
        on: by the days since then, the share (0 to 1) seen on that very day.
        since: ... on that day or later, as far as is known.
    """

    day: datetime
    people: int
    on: Mapping[int, float]
    since: Mapping[int, float]


@dataclass(frozen=True)
class Day:
    """What the people of one day are to it.

    Attributes:
        new: seen for the first time.
        returning: seen on the day before, too.
        back: seen before, but not on the day before.
        gone: seen on the day before, and not on this one.
        stickiness: the day's people as a share of those of the :data:`MONTH` days that end with it.
    """

    day: datetime
    people: int
    new: int
    returning: int
    back: int
    gone: int
    stickiness: float


@dataclass(frozen=True)
class Retention:
    """Cohorts and days of a span; ``through`` is the last day that is over."""

    cohorts: tuple[Cohort, ...]
    days: tuple[Day, ...]
    through: datetime | None


def retention(
    acts: Acts,
    beginning: datetime,
    since: datetime,
    until: datetime,
    *,
    first: Step | None = None,
    again: Step | None = None,
    traffic: Traffic = "all",
) -> Retention:
    """Cohorts and days with ``since <= day < until``.

    Args:
        beginning: from where on the tables are read to find first days.
        until: what has come until here is known: a day that is not over by then is left out.
    """
    with acts.opened(beginning, until, traffic, sessions=False) as connection:
        for name, step in (("firsts", first), ("seen", again)):
            condition, values = ("true", []) if step is None else fits(step)
            connection.execute(
                f"CREATE TEMP TABLE {name} AS SELECT DISTINCT user_id, ts // {DAY} AS day FROM acts WHERE {condition}",
                values,
            )
        connection.execute("CREATE TEMP TABLE began AS SELECT user_id, min(day) AS day FROM firsts GROUP BY user_id")
        through = _day(until) - 1
        cohorts = _cohorts(connection, _day(since), through)
        days = _days(connection, _day(since), through)
    return Retention(cohorts, days, _time(through) if days else None)


def _cohorts(connection: duckdb.DuckDBPyConnection, since: int, through: int) -> tuple[Cohort, ...]:
    sizes = connection.execute(
        "SELECT day, count(*) FROM began WHERE day BETWEEN ? AND ? GROUP BY day ORDER BY day", [since, through]
    ).fetchall()
    rows = connection.execute(
        """
        SELECT began.day, seen.day - began.day AS age, count(*), count(*) FILTER (WHERE seen.day = newest)
        FROM began JOIN seen USING (user_id) JOIN (SELECT user_id, max(day) AS newest FROM seen GROUP BY user_id)
            USING (user_id)
        WHERE began.day BETWEEN ? AND ? AND seen.day BETWEEN began.day AND ? GROUP BY ALL
        """,
        [since, through, through],
    ).fetchall()
    on = {(day, age): people for day, age, people, _ in rows}
    last = {(day, age): people for day, age, _, people in rows}
    made = []
    for day, people in sizes:
        ages = [age for age in AGES if day + age <= through]
        later = {age: sum(last.get((day, each), 0) for each in range(age, through - day + 1)) for age in ages}
        shares = {age: on.get((day, age), 0) / people for age in ages}
        made.append(Cohort(_time(day), people, shares, {age: later[age] / people for age in ages}))
    return tuple(made)


def _days(connection: duckdb.DuckDBPyConnection, since: int, through: int) -> tuple[Day, ...]:
    rows = connection.execute(
        f"""
        WITH marked AS (
            SELECT user_id, day, min(day) OVER w AS first, lag(day) OVER w AS before, lead(day) OVER w AS after
            FROM seen WINDOW w AS (PARTITION BY user_id ORDER BY day)
        ), told AS (
            SELECT day, count(*) AS people, count(*) FILTER (WHERE day = first) AS fresh,
                count(*) FILTER (WHERE before = day - 1) AS stayed,
                count(*) FILTER (WHERE before < day - 1) AS came_back
            FROM marked GROUP BY day
        ), left_over AS (
            SELECT day + 1 AS day, count(*) AS gone FROM marked WHERE after IS DISTINCT FROM day + 1 GROUP BY day
        ), calendar AS (SELECT unnest(generate_series(?, ?)) AS day)
        SELECT day, coalesce(people, 0), coalesce(fresh, 0), coalesce(stayed, 0), coalesce(came_back, 0),
            coalesce(gone, 0), (
                SELECT count(DISTINCT user_id) FROM seen
                WHERE seen.day BETWEEN calendar.day - {MONTH - 1} AND calendar.day
            )
        FROM calendar LEFT JOIN told USING (day) LEFT JOIN left_over USING (day) ORDER BY day
        """,
        [since, through],
    ).fetchall()
    began = next((place for place, row in enumerate(rows) if row[6]), len(rows))
    return tuple(
        Day(_time(day), people, new, returning, back, gone, people / month if month else 0.0)
        for day, people, new, returning, back, gone, month in rows[began:]
    )


def _day(time: datetime) -> int:
    return round(time.timestamp() * MICROS) // DAY


def _time(day: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(days=day)
