"""Kinds of people against the personas of simulated days; journeys against DuckDB's SQL as one would write it by hand.

Personas are never seen by what tells people apart. Journeys are counted on one simulated day of events in Delta tables,
by :mod:`journeys` and by queries that count a simpler funnel (each person's first look, the first basket after it, the
first payment after that, in one session) and plain retention; both read the same files, in turn, after a warm-up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import duckdb
import numpy as np
import pyarrow as pa
from sklearn.metrics import adjusted_rand_score

from benchmarks._people import measured
from benchmarks.report import Table
from features.tables import EVENTS, FEATURE_TABLE, SCORES
from features.tables import Table as DeltaTable
from journeys import funnels
from journeys.acts import acts_in
from journeys.definitions import Funnel, Step
from journeys.retention import retention
from lake import arrow_tables
from lake.reader import LakeReader
from lake.schemas import arrow_schema
from patterns.people import learn_people
from patterns.traits import TRAITS
from simulation import Scenario, simulate_columns
from simulation.sites import SITES

GOAL_LIKE, GOAL_TIME = 0.6, 1.0
DAY = datetime(2026, 3, 2, tzinfo=UTC)
FUNNEL = Funnel(
    "purchase",
    (
        Step("look", ("view",), ("/product/*",)),
        Step("basket", ("interaction",), ("/cart",)),
        Step("pay", ("interaction",), ("/checkout",)),
    ),
)
BY_HAND = """
    WITH done AS (
        SELECT e.user_id, s.session_start, e.timestamp AS done_at, action, page
        FROM events e JOIN minutes s ON e.user_id = s.user_id AND date_trunc('minute', e.timestamp) = s.window_start
    ), look AS (
        SELECT user_id, session_start, min(done_at) AS first FROM done
        WHERE action = 'view' AND page LIKE '/product/%' GROUP BY ALL
    ), basket AS (
        SELECT d.user_id, d.session_start, min(d.done_at) AS first FROM done d JOIN look USING (user_id, session_start)
        WHERE d.done_at > look.first AND action = 'interaction' AND page = '/cart' GROUP BY ALL
    ), pay AS (
        SELECT d.user_id, d.session_start, min(d.done_at) AS first
        FROM done d JOIN basket USING (user_id, session_start)
        WHERE d.done_at > basket.first AND action = 'interaction' AND page = '/checkout' GROUP BY ALL
    )
    SELECT (SELECT count(DISTINCT user_id) FROM look), (SELECT count(DISTINCT user_id) FROM basket),
        (SELECT count(DISTINCT user_id) FROM pay)
"""
RETENTION_BY_HAND = """
    WITH days AS (SELECT DISTINCT user_id, date_trunc('day', timestamp) AS day FROM events),
        firsts AS (SELECT user_id, min(day) AS first FROM days GROUP BY user_id)
    SELECT first, date_diff('day', first, day) AS age, count(*) FROM days JOIN firsts USING (user_id) GROUP BY ALL
"""


def run(quick: bool, folder: Path) -> list[Table]:
    """See the module's text."""
    return [told_apart(quick), journeys(quick, folder)]


def told_apart(quick: bool) -> Table:
    """Adjusted Rand index of kinds against personas, by site and seed."""
    rows = []
    for site in sorted(SITES):
        for seed in (41,) if quick else (41, 42, 43):
            users, rate = (700, 1.5) if quick else (2_500, 5.0)
            scenario = Scenario(DAY, rate, timedelta(days=1), seed=seed, users=users, site=site, daily_rhythm=True)
            values, counts, acts, personas = measured(scenario)
            began = time.process_time()
            found = learn_people(values, counts, acts, 7, 17)
            spent = time.process_time() - began
            assert found is not None
            several = values[:, [trait.name for trait in TRAITS["user"]].index("events")] > 1
            index = adjusted_rand_score(personas[several], found.assign(values, counts)[0][several])
            rows.append(
                (f"{site}, seed {seed}", int(several.sum()), len(set(personas)), len(found), float(index), spent)
            )
    return Table(
        f"Kinds of people against the simulator's personas, programs included (goal: {GOAL_LIKE})",
        ("a day of", "users", "personas", "kinds", "adjusted Rand index", "processor s"),
        tuple(rows),
    )


def journeys(quick: bool, folder: Path) -> Table:
    """Seconds of funnels and retention, and of queries by hand."""
    events = 500_000 if quick else 10_000_000
    reader = LakeReader(str(folder))
    size = fill(str(folder), events)
    until = DAY + timedelta(days=1)

    def by_hand(query: str) -> None:
        with duckdb.connect(config={"threads": 2, "memory_limit": "1GB"}) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.register("events", reader.dataset(EVENTS))
            connection.register("minutes", reader.dataset(FEATURE_TABLE))
            connection.execute(query).fetchall()

    contestants: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "a funnel of three steps": (
            lambda: funnels.count(acts_in(reader, DAY, until), FUNNEL, DAY, until),
            lambda: by_hand(BY_HAND),
        ),
        "retention": (
            lambda: retention(acts_in(reader, DAY, until), DAY, DAY, until),
            lambda: by_hand(RETENTION_BY_HAND),
        ),
    }
    rows = []
    for name, pair in contestants.items():
        seconds: tuple[list[float], list[float]] = ([], [])
        for turn in range(4):
            for place, count in enumerate(pair):
                began = time.perf_counter()
                count()
                if turn:
                    seconds[place].append(time.perf_counter() - began)
        ours, theirs = map(median, seconds)
        rows.append((name, ours, theirs, ours / theirs))
    reader.close()
    return Table(
        f"Journeys of {size:,} events on the same Delta tables (goal: {GOAL_TIME})",
        ("what is counted", "journeys, s", "SQL by hand, s", "of the time by hand"),
        tuple(rows),
        ("Journeys also count by day, tell ways out and times between steps, and take the try that gets furthest.",),
    )


def fill(root: str, events: int) -> int:
    """Events of a simulated day, and the sessions of their minutes; how many events there are."""
    scenario = Scenario(DAY, events / 86_400, timedelta(days=1), seed=44, daily_rhythm=True)
    names, batches = simulate_columns(scenario)
    site = SITES[scenario.site]
    users, pages, actions = (pa.array(values, pa.string()) for values in (names, site.pages, site.actions))
    minutes: list[np.ndarray[tuple[int, int], np.dtype[np.int64]]] = []
    size = 0
    for number, (user, action, page, millis) in enumerate(_chunks(batches)):
        minutes.append(np.unique(np.column_stack([user, millis // 60_000]), axis=0))
        told = {
            "user_id": users.take(pa.array(user)),
            "action": actions.take(pa.array(action)),
            "page": pages.take(pa.array(page)),
            "timestamp": pa.array(millis * 1000, pa.timestamp("us", "UTC")),
            "offset": pa.array(np.arange(size, size + len(user))),
        }
        size += len(user)
        arrow_tables.append(root, EVENTS, _filled(EVENTS, told, len(user)), batch_id=f"bench:{number}")
    known = np.unique(np.concatenate(minutes), axis=0)
    begins = np.ones(len(known), bool)
    begins[1:] = (known[1:, 0] != known[:-1, 0]) | (known[1:, 1] - known[:-1, 1] >= 30)
    start = known[:, 1][begins][np.cumsum(begins) - 1]
    session = {
        "user_id": users.take(pa.array(known[:, 0])),
        "window_start": pa.array(known[:, 1] * 60_000_000, pa.timestamp("us", "UTC")),
        "session_start": pa.array(start * 60_000_000, pa.timestamp("us", "UTC")),
    }
    arrow_tables.append(root, FEATURE_TABLE, _filled(FEATURE_TABLE, session, len(known)), batch_id="bench:0")
    verdict = session | {"verdict": pa.array(["normal"] * len(known))}
    arrow_tables.append(root, SCORES, _filled(SCORES, verdict, len(known)), batch_id="bench:0")
    return size


def _chunks(batches: Iterator[object], least: int = 1_000_000) -> Iterator[tuple[np.ndarray, ...]]:
    """The simulator's batches, some of them together."""
    kept: list[tuple[np.ndarray, ...]] = []
    for batch in batches:
        kept.append(tuple(getattr(batch, name) for name in ("user", "action", "page", "millis")))
        if sum(len(each[0]) for each in kept) >= least:
            yield tuple(map(np.concatenate, zip(*kept, strict=True)))
            kept = []
    if kept:
        yield tuple(map(np.concatenate, zip(*kept, strict=True)))


def _filled(table: DeltaTable, columns: dict[str, pa.Array], size: int) -> pa.Table:
    """Rows of a table: these columns, null in the others, or something where that cannot be."""
    something = {"string": "x", "timestamp[us, tz=UTC]": DAY, "bool": False}
    arrays = []
    for field in arrow_schema(table):
        if field.name in columns:
            arrays.append(columns[field.name].cast(field.type))
        elif field.nullable:
            arrays.append(pa.nulls(size, field.type))
        else:
            arrays.append(pa.repeat(pa.scalar(something.get(str(field.type), 0), field.type), size))
    return pa.Table.from_arrays(arrays, schema=arrow_schema(table))
