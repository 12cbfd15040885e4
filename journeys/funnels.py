"""How many people take which steps of a funnel, how long that takes them, and where those go who do not go on.

A *try* begins with each event that is the first step. Its next step is the person's next event that fits it, if it
comes in time: within the funnel's window, or in the same session. Of a person's tries the one that gets furthest
counts, of these the first: so everybody counts once (once a day, where days are told). In any order a try begins with
each event that is some step, and gets as far as there are different steps in its window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import duckdb

from journeys.acts import DAY, IN_ORDER, MICROS, Acts, Traffic
from journeys.definitions import Funnel, Step
from journeys.matching import fits
from patterns.pages import NOTHING_KNOWN, PageKinds, Visits, learn

MOST_EXITS = 5
MOST_PAGES = 20_000
NOWHERE = None
"""Where people go who do nothing more in time."""


@dataclass(frozen=True)
class Reached:
    """People who came to a step.

    Attributes:
        people: who came as far.
        of_first: their share of those who began, 0 to 1; None: nobody did.
        of_previous: their share of those who came to the step before.
        seconds_median: from the step before to this one; None for the first, in any order, and where nobody came.
        seconds_p90: nine in ten take no longer.
    """

    name: str
    people: int
    of_first: float | None
    of_previous: float | None
    seconds_median: float | None = None
    seconds_p90: float | None = None


@dataclass(frozen=True)
class Exit:
    """What people did after a step in place of the next one: an action on a kind of page; None: nothing more."""

    step: str
    action: str | None
    kind: str | None
    people: int


@dataclass(frozen=True)
class Counted:
    """A funnel as counted.

    Attributes:
        days: for each day (UTC) on which tries began, how many people came to each step.
        exits: for each step but the last, the commonest ways out.
    """

    funnel: Funnel
    traffic: Traffic
    since: datetime
    until: datetime
    steps: tuple[Reached, ...]
    days: dict[datetime, tuple[int, ...]]
    exits: tuple[Exit, ...]


def count(
    acts: Acts,
    funnel: Funnel,
    since: datetime,
    until: datetime,
    *,
    traffic: Traffic = "all",
    kinds: PageKinds = NOTHING_KNOWN,
    least_users: int = 3,
) -> Counted:
    """Count a funnel whose tries begin in the span; their later steps must lie in it, too.

    Args:
        kinds: of pages, as mining knows them; what it does not know yet is learned from the ways out.
        least_users: ways out of fewer people are theirs, not common, and are not told.
    """
    with acts.opened(since, until, traffic) as connection:
        _tries(connection, funnel)
        whole = _best(connection, "user_id")
        steps = _steps(connection, funnel, whole)
        days = _days(connection, funnel)
        exits = _exits(connection, funnel, whole, kinds, least_users) if funnel.in_order else ()
    return Counted(funnel, traffic, since, until, steps, days, exits)


def _tries(connection: duckdb.DuckDBPyConnection, funnel: Funnel) -> None:
    """Table ``tries``: user_id, n1, ts1 (its begin), depth, and in order the places and times of further steps."""
    columns, values = _fits_columns(funnel.steps)
    first = "f1" if funnel.in_order else " OR ".join(f"f{number}" for number in _numbers(funnel))
    connection.execute(
        f"""
        CREATE TEMP TABLE moves AS
        WITH fitting AS (SELECT *, {columns} FROM acts), began AS (SELECT DISTINCT user_id FROM fitting WHERE {first})
        SELECT *, row_number() OVER w AS n, lead(action) OVER w AS next_action, lead(page) OVER w AS next_page,
            lead(ts) OVER w AS next_ts, lead(session) OVER w AS next_session
        FROM fitting SEMI JOIN began USING (user_id)
        WINDOW w AS (PARTITION BY user_id ORDER BY {IN_ORDER})
        """,
        values,
    )
    connection.execute(_in_order(funnel) if funnel.in_order else _in_any_order(funnel))


def _in_order(funnel: Funnel) -> str:
    query = "SELECT user_id, session, n AS n1, ts AS ts1 FROM moves WHERE f1"
    for number in _numbers(funnel)[1:]:
        late = "later.session IS DISTINCT FROM earlier.session OR earlier.session IS NULL"
        if funnel.within is not None:
            late = f"later.ts - earlier.ts1 > {_micros(funnel.within)}"
        query = f"""
            SELECT earlier.*, CASE WHEN {late} THEN NULL ELSE later.n END AS n{number},
                CASE WHEN {late} THEN NULL ELSE later.ts END AS ts{number}
            FROM ({query}) AS earlier
            ASOF LEFT JOIN (SELECT user_id, session, n, ts FROM moves WHERE f{number}) AS later
            ON earlier.user_id = later.user_id AND earlier.n{number - 1} < later.n
        """
    depth = " + ".join(f"(n{number} IS NOT NULL)::INT" for number in _numbers(funnel))
    return f"CREATE TEMP TABLE tries AS SELECT *, {depth} AS depth FROM ({query})"


def _in_any_order(funnel: Funnel) -> str:
    mask = " | ".join(f"(f{number}::INT << {number - 1})" for number in _numbers(funnel))
    window = "(PARTITION BY user_id, session)"
    if funnel.within is not None:
        span = _micros(funnel.within)
        window = f"(PARTITION BY user_id ORDER BY ts RANGE BETWEEN CURRENT ROW AND {span} FOLLOWING)"
    alone = "FALSE" if funnel.within is not None else "session IS NULL"
    return f"""
        CREATE TEMP TABLE tries AS
        SELECT user_id, session, n AS n1, ts AS ts1, bit_count(CASE WHEN {alone} THEN mask ELSE seen END)::INT AS depth
        FROM (SELECT *, {mask} AS mask, bit_or({mask}) OVER {window} AS seen FROM moves) WHERE mask > 0
    """


def _best(connection: duckdb.DuckDBPyConnection, whose: str, name: str = "best") -> str:
    """A table of the try that counts for each of ``whose``; its name."""
    connection.execute(
        f"""
        CREATE TEMP TABLE {name} AS SELECT *, ts1 - ts1 % {DAY} AS day FROM tries
        QUALIFY row_number() OVER (PARTITION BY {whose} ORDER BY depth DESC, n1) = 1
        """
    )
    return name


def _steps(connection: duckdb.DuckDBPyConnection, funnel: Funnel, best: str) -> tuple[Reached, ...]:
    asked = []
    for number in _numbers(funnel):
        spent = f"(ts{number} - ts{number - 1}) / {MICROS}.0" if funnel.in_order and number > 1 else "NULL::DOUBLE"
        came = f"FILTER (WHERE depth >= {number})"
        asked += [f"count(*) {came}", f"median({spent}) {came}", f"quantile_disc({spent}, 0.9) {came}"]
    found = connection.execute(f"SELECT {', '.join(asked)} FROM {best}").fetchone()
    assert found is not None
    people = found[::3]
    before = (None, *people[:-1])
    return tuple(
        Reached(
            step.name if funnel.in_order else f"{number} of {len(funnel.steps)}",
            people[number - 1],
            people[number - 1] / people[0] if people[0] else None,
            people[number - 1] / before[number - 1] if before[number - 1] else None,
            found[3 * number - 2],
            found[3 * number - 1],
        )
        for number, step in enumerate(funnel.steps, 1)
    )


def _days(connection: duckdb.DuckDBPyConnection, funnel: Funnel) -> dict[datetime, tuple[int, ...]]:
    daily = _best(connection, f"user_id, ts1 // {DAY}", "daily")
    counts = ", ".join(f"count(*) FILTER (WHERE depth >= {number})" for number in _numbers(funnel))
    rows = connection.execute(f"SELECT day, {counts} FROM {daily} GROUP BY day ORDER BY day").fetchall()
    return {datetime.fromtimestamp(day // MICROS, UTC): tuple(counted) for day, *counted in rows}


def _exits(
    connection: duckdb.DuckDBPyConnection, funnel: Funnel, best: str, kinds: PageKinds, least_users: int
) -> tuple[Exit, ...]:
    exits: list[Exit] = []
    for number, step in list(enumerate(funnel.steps, 1))[:-1]:
        over = "next_session IS DISTINCT FROM gone.session OR gone.session IS NULL"
        if funnel.within is not None:
            over = f"next_ts - gone.ts1 > {_micros(funnel.within)}"
        rows = connection.execute(
            f"""
            SELECT what, CASE WHEN what IS NOT NULL THEN next_page END AS place, count(*) AS people
            FROM (
                SELECT CASE WHEN next_ts IS NULL OR {over} THEN NULL ELSE next_action END AS what, next_page
                FROM (SELECT * FROM {best} WHERE depth = {number}) AS gone
                JOIN moves ON moves.user_id = gone.user_id AND moves.n = gone.n{number}
            )
            GROUP BY ALL ORDER BY people DESC, what, place LIMIT {MOST_PAGES}
            """
        ).fetchall()
        exits += _named(step.name, rows, kinds, least_users)
    return tuple(exits)


def _named(
    step: str, rows: Sequence[tuple[str | None, str | None, int]], kinds: PageKinds, least_users: int
) -> list[Exit]:
    """Ways out of one step by kinds of pages, the commonest first."""
    seen = [(page, Visits(people, people)) for _, page, people in rows if page is not None]
    kinds = learn(seen, kinds, least_users)
    people: dict[tuple[str | None, str | None], int] = {}
    for action, page, number in rows:
        way = (action, NOWHERE if page is None else kinds.kind_of(page))
        people[way] = people.get(way, 0) + number
    common = [Exit(step, *way, number) for way, number in people.items() if number >= least_users]
    return sorted(common, key=lambda one: (-one.people, str(one.action), str(one.kind)))[:MOST_EXITS]


def _numbers(funnel: Funnel) -> range:
    return range(1, len(funnel.steps) + 1)


def _fits_columns(steps: Sequence[Step]) -> tuple[str, list[str]]:
    """A column ``f1``, ``f2``, … that says whether an event is the step, and the values of its parameters."""
    conditions = [fits(step) for step in steps]
    columns = [f"{condition} AS f{number}" for number, (condition, _) in enumerate(conditions, 1)]
    return ", ".join(columns), [value for _, values in conditions for value in values]


def _micros(span: timedelta) -> int:
    return span // timedelta(microseconds=1)
