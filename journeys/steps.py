"""Sessions as the steps that people took in them: acts on kinds of pages, numbered."""

from __future__ import annotations

import duckdb
import pyarrow as pa

from journeys.acts import IN_ORDER
from patterns.pages import OTHER, PageKinds, Visits, learn

MOST_PAGES = 100_000
"""Pages of which kinds are learned; the others are :data:`patterns.pages.OTHER`."""


def make_steps(connection: duckdb.DuckDBPyConnection, kinds: PageKinds, least_users: int) -> PageKinds:
    """Make table ``steps`` of the ``acts`` that have a session, and view ``moves``; gives the kinds of pages.

    Its columns: user_id, session, ts, action, page, kind, and ``n``, the place in the session, from 1 on.
    ``moves`` are the steps that go to another kind of page: of several on one kind in a row the first.

    Args:
        connection: of :meth:`journeys.acts.Acts.opened`.
        kinds: as mining knows them; what it does not know yet is learned from these acts.
        least_users: a name on fewer people's pages is not told.
    """
    pages = connection.execute(
        f"""
        WITH visited AS (SELECT DISTINCT user_id, page FROM acts),
            weighed AS (SELECT page, 1.0 / count(*) OVER (PARTITION BY user_id) AS weight FROM visited)
        SELECT page, count(*) AS users, sum(weight) FROM weighed GROUP BY page
        ORDER BY users DESC, page LIMIT {MOST_PAGES}
        """
    ).fetchall()
    kinds = learn([(page, Visits(users, weight)) for page, users, weight in pages], kinds, least_users)
    names = [page for page, _, _ in pages]
    table = pa.table({"page": pa.array(names, pa.string()), "kind": pa.array(map(kinds.kind_of, names), pa.string())})
    connection.register("kinds", table)
    connection.execute(
        f"""
        CREATE TEMP TABLE steps AS
        SELECT user_id, session, ts, action, page, coalesce(kind, '{OTHER}') AS kind,
            row_number() OVER (PARTITION BY user_id, session ORDER BY {IN_ORDER}) AS n
        FROM acts LEFT JOIN kinds USING (page) WHERE session IS NOT NULL
        """
    )
    connection.execute(
        """
        CREATE TEMP VIEW moves AS
        SELECT * FROM steps QUALIFY kind IS DISTINCT FROM lag(kind) OVER (PARTITION BY user_id, session ORDER BY n)
        """
    )
    return kinds
