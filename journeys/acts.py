"""What people did in a span of time, as DuckDB sees it: events, and the sessions and verdicts of their minutes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, TypeAlias, get_args

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from features.errors import EnvironmentProblem
from features.tables import EVENTS, FEATURE_TABLE, SCORES
from lake.reader import LakeReader

Traffic = Literal["all", "ordinary", "flagged"]
"""Sessions: all, those without a flagged minute, those with one."""
TRAFFIC: tuple[Traffic, ...] = get_args(Traffic)
Rows: TypeAlias = pa.Table | ds.Dataset
MICROS = 1_000_000
DAY = 86_400 * MICROS
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
MEMORY = "1GB"
"""What DuckDB holds in memory; what is more it keeps in a temporary folder."""
IN_ORDER = 'ts, topic, "partition", "offset", part NULLS FIRST'
"""How a person's events follow each other: by their times, and where these are the same as they came."""


@dataclass(frozen=True)
class Acts:
    """The tables that journeys are counted in, as Arrow has them; see :func:`acts_in`.

    Attributes:
        events: columns of table ``events``.
        minutes: ``user_id``, ``window_start``, ``session_start`` and which revision, of table ``features``.
        verdicts: ``user_id``, ``window_start``, ``session_start``, ``verdict`` and which revision, of table ``scores``.
        seconds: how long a question may take.
    """

    events: Rows
    minutes: Rows
    verdicts: Rows
    seconds: float | None = None

    @contextmanager
    def opened(
        self, since: datetime, until: datetime, traffic: Traffic = "all", *, sessions: bool = True
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """DuckDB with a view ``acts`` of the events with ``since <= timestamp < until``.

        Args:
            sessions: whether the sessions of all traffic are asked for; finding them costs a join, and is null without.

        Its columns: user_id, action, page, outcome, ``ts`` (µs since 1970), session (µs since 1970; null where the
        minute has no row of features yet), and what :data:`IN_ORDER` needs.

        Raises:
            EnvironmentProblem: it takes longer than it may.
        """
        with duckdb.connect(config={"threads": 2, "memory_limit": MEMORY}) as connection, self._in_time(connection):
            connection.execute("SET TimeZone = 'UTC'")
            for name, rows in (("events", self.events), ("minutes", self.minutes), ("verdicts", self.verdicts)):
                connection.register(name, rows)
            connection.execute(_sessions("minutes", "sessions"))
            connection.execute(_FLAGGED)
            chosen = {
                "all": "",
                "ordinary": "AND (user_id, session) NOT IN (SELECT (user_id, session) FROM flagged)",
                "flagged": "AND (user_id, session) IN (SELECT (user_id, session) FROM flagged)",
            }[traffic]
            span = {"since": _micros(since), "until": _micros(until)}
            query = _ACTS if sessions or chosen else _ACTS_ALONE
            connection.execute(query.format(**span, chosen=chosen))
            yield connection

    @contextmanager
    def _in_time(self, connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
        if self.seconds is None:
            yield
            return
        clock = threading.Timer(self.seconds, connection.interrupt)
        clock.start()
        try:
            yield
        except duckdb.InterruptException:
            raise EnvironmentProblem(f"Counting took longer than {self.seconds:g} s. Ask for fewer days.") from None
        finally:
            clock.cancel()


_REVISION = "(batch_time, batch_id)"


def _sessions(source: str, name: str) -> str:
    return f"""
        CREATE TEMP VIEW {name} AS
        SELECT user_id, epoch_us(window_start) AS minute, epoch_us(max_by(session_start, {_REVISION})) AS session
        FROM {source} GROUP BY user_id, window_start
    """


_FLAGGED = f"""
    CREATE TEMP VIEW flagged AS
    SELECT DISTINCT user_id, session FROM (
        SELECT user_id, epoch_us(max_by(session_start, {_REVISION})) AS session, max_by(verdict, {_REVISION}) AS verdict
        FROM verdicts GROUP BY user_id, window_start
    ) WHERE verdict = 'anomaly'
"""
_ACTS = """
    CREATE TEMP VIEW acts AS
    SELECT * FROM (
        SELECT user_id, action, page, outcome, ts, session, topic, "partition", "offset", part
        FROM (
            SELECT user_id, action, page, outcome, epoch_us(timestamp) AS ts, topic, "partition", "offset", part,
                ts - ts % 60000000 AS minute
            FROM events
            WHERE timestamp >= make_timestamptz({since}) AND timestamp < make_timestamptz({until})
        ) LEFT JOIN sessions USING (user_id, minute)
    ) WHERE true {chosen}
"""
_ACTS_ALONE = """
    CREATE TEMP VIEW acts AS
    SELECT user_id, action, page, outcome, epoch_us(timestamp) AS ts, NULL::BIGINT AS session, topic, "partition",
        "offset", part
    FROM events WHERE timestamp >= make_timestamptz({since}) AND timestamp < make_timestamptz({until})
"""


def acts_in(lake: LakeReader, since: datetime, until: datetime, *, seconds: float | None = None) -> Acts:
    """The tables as they are now, of them the files that may have something of the span."""
    return Acts(
        lake.dataset(EVENTS, since=since, until=until),
        lake.dataset(FEATURE_TABLE, since=since, until=until),
        lake.dataset(SCORES, since=since, until=until),
        seconds,
    )


def _micros(time: datetime) -> int:
    return round(time.timestamp() * MICROS)
