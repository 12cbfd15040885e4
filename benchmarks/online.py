"""One person out of a million: the server's answer from the online view, and from the tables alone.

The tables have features and scores of a million people, as ``maintain_tables`` leaves them. The view is made from them
by ``fill_online``; then the server is asked for people drawn at random, one request after the other, while a writer
commits the rows of a thousand events a second and the feed follows. A score is seen when the answer has its minute.
"""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import httpx
import numpy as np
import pyarrow as pa

from benchmarks._servers import free_ports, running
from benchmarks.report import Table
from features.definitions import FEATURE_NAMES, FEATURE_VERSION
from features.tables import FEATURE_TABLE, SCORES
from features.tables import Table as DeltaTable
from lake import arrow_tables
from lake.schemas import arrow_schema
from lake.worker_files import TableFiles
from online.stream import OnlineStream
from settings import PROJECT, Settings, load_settings, local_overrides

MINUTES = 3
"""That each person has in the tables."""
FILE_ROWS = 250_000
EVENTS_PER_ROW = 2.0
GOAL_MS, GOAL_SEEN = 20.0, 1.0
NOTE = (
    "One connection, one request after the other. The feed, the writer and the load generator share the machine with "
    "the server. Seen: seconds from the commit of a score to the first answer that has it."
)


def run(quick: bool, folder: Path) -> list[Table]:
    """See the module's text."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    people, asked, seconds = (20_000, 300, 5.0) if quick else (1_000_000, 3_000, 60.0)
    overrides = [*local_overrides(folder), "serving.rate_per_second=100000", "serving.burst=100000"]
    settings = load_settings("local", overrides)
    newest = datetime.now(UTC).replace(second=0, microsecond=0)
    for table in (FEATURE_TABLE, SCORES):
        history(settings, table, people, newest)
    began = time.monotonic()
    words = [word for each in overrides for word in ("--set", each)]
    subprocess.run([sys.executable, "-m", "jobs.fill_online", "--anew", "--once", *words], cwd=PROJECT, check=True)
    filled, size = time.monotonic() - began, Path(settings.online_path).stat().st_size
    chance = np.random.default_rng(3)
    with ExitStack() as stack:
        by_view = stack.enter_context(server([*overrides, "online.store=sqlite"], folder / "view.log"))
        by_tables = stack.enter_context(server([*overrides, "online.store=none"], folder / "tables.log"))
        wait_for_view(by_view)
        quiet = latencies(by_view, chance.integers(people, size=asked))
        alone = latencies(by_tables, chance.integers(people, size=10 if quick else 20))
        live, seen = beside_a_writer(by_view, settings, people, seconds, chance)
    rows = (
        ("the tables alone", *percentiles(alone), None, None),
        ("the online view", *percentiles(quiet), None, None),
        ("... while it is fed 1,000 events/s", *percentiles(live), *percentiles(seen)[:2]),
    )
    about = f"{people:,} people with {MINUTES} minutes each; made anew in {filled:.0f} s, {size / 1e6:,.0f} MB."
    goal = f"Goals: p99 under {GOAL_MS:g} ms; a score is seen within {GOAL_SEEN:g} s (p99)."
    columns = ("GET /users/{id} from", "p50 ms", "p99 ms", "most ms", "seen after s, p50", "p99")
    return [Table("One person of many: from the online view and from the tables", columns, rows, (about, goal, NOTE))]


def user(number: int) -> str:
    return f"user-{(number * 2_654_435_761) % 2**32:08x}"


def rows_of(table: DeltaTable, numbers: np.ndarray[Any, Any], times: pa.Array, batch: str) -> pa.Table:
    """Rows of these people, a minute of each; features are numbers of the size they have."""
    count, chance = len(numbers), np.random.default_rng(len(numbers))
    now = pa.scalar(datetime.now(UTC), pa.timestamp("us", "UTC"))
    known: dict[str, Any] = {
        "user_id": [user(int(number)) for number in numbers],
        "window_start": times,
        "session_start": times,
        "session_is_split": pa.repeat(False, count),
        "last_received_at": times,
        "feature_version": pa.repeat(FEATURE_VERSION, count),
        "anomaly_score": chance.random(count),
        "anomaly_percentile": 100 * chance.random(count),
        "verdict": pa.repeat("normal", count),
        "model_name": pa.repeat("bench", count),
        "model_version": pa.repeat("1", count),
        "threshold": pa.repeat(0.6, count),
        "scored_at": pa.repeat(now, count),
        "batch_time": pa.repeat(now, count),
        "batch_id": pa.repeat(batch, count),
        **{name: np.round(chance.random(count) * 10, 3) for name in FEATURE_NAMES},
    }
    schema = arrow_schema(table)
    return pa.table([known.get(name, pa.nulls(count, schema.field(name).type)) for name in schema.names], schema=schema)


def history(settings: Settings, table: DeltaTable, people: int, newest: datetime) -> None:
    there = arrow_tables.opened(settings.storage.root, table)
    added: list[str] = []
    for minute in range(MINUTES):
        for first in range(0, people, FILE_ROWS):
            numbers = np.arange(first, min(first + FILE_ROWS, people))
            at = pa.scalar(newest - timedelta(minutes=10 + minute), pa.timestamp("us", "UTC"))
            with TableFiles(there.location, table) as files:
                files.write(rows_of(table, numbers, pa.repeat(at, len(numbers)), "history:0"))
            added += files.described
    arrow_tables.commit(there, added, note="history:0")


@contextmanager
def server(overrides: list[str], log: Path) -> Iterator[str]:
    """The real server in a process of its own; gives its address."""
    (port,) = free_ports(1)
    address = f"http://127.0.0.1:{port}"
    words = [word for each in (*overrides, f"serving.port={port}") for word in ("--set", each)]
    command = [sys.executable, "-m", "serving", "--env", "local", *words]
    with running(command, log, PROJECT, lambda: urlopen(f"{address}/health", timeout=30)):
        yield address


def wait_for_view(address: str) -> None:
    """Until the server answers from the view: in less than a look into the tables takes."""
    end, quick = time.monotonic() + 120, 0
    with httpx.Client(base_url=address, timeout=60) as client:
        while quick < 20:
            began = time.monotonic()
            client.get(f"/users/{user(1)}").raise_for_status()
            quick = quick + 1 if time.monotonic() - began < 0.05 else 0
            if time.monotonic() > end:
                raise RuntimeError("The server does not answer from the view.")


def latencies(address: str, numbers: np.ndarray[Any, Any]) -> list[float]:
    """Milliseconds of one request after the other."""
    taken = []
    with httpx.Client(base_url=address, timeout=60) as client:
        for number in numbers.tolist():
            began = time.perf_counter()
            client.get(f"/users/{user(number)}").raise_for_status()
            taken.append(1000 * (time.perf_counter() - began))
    return taken


def beside_a_writer(
    address: str, settings: Settings, people: int, seconds: float, chance: np.random.Generator
) -> tuple[list[float], list[float]]:
    """Latencies, and seconds until a score was seen, while a thousand events a second come in."""
    over, seen, taken = threading.Event(), list[float](), list[float]()
    online = OnlineStream(settings)
    online.start()
    writer = threading.Thread(target=write, args=(settings, people, over, online, address, seen), daemon=True)
    writer.start()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        taken += latencies(address, chance.integers(people, size=50))
    over.set()
    writer.join()
    online.stop()
    return taken, seen


def write(
    settings: Settings, people: int, over: threading.Event, online: OnlineStream, address: str, seen: list[float]
) -> None:
    """A commit to features and one to scores each second; of each, how soon one of its people is answered with it."""
    there = {table: arrow_tables.opened(settings.storage.root, table) for table in (FEATURE_TABLE, SCORES)}
    chance, count = np.random.default_rng(5), round(1000 / EVENTS_PER_ROW)
    with httpx.Client(base_url=address, timeout=60) as client:
        while not over.is_set():
            began = time.monotonic()
            numbers = np.unique(chance.integers(people, size=count))
            minute = datetime.now(UTC).replace(microsecond=0)
            times = pa.repeat(pa.scalar(minute, pa.timestamp("us", "UTC")), len(numbers))
            for table, opened in there.items():
                with TableFiles(opened.location, table) as files:
                    files.write(rows_of(table, numbers, times, f"live:{began}"))
                arrow_tables.commit(opened, files.described, note=f"live:{began}")
            committed = time.monotonic()
            online.wake()
            wanted = minute.isoformat()
            while (
                json.loads(client.get(f"/users/{user(int(numbers[-1]))}").content)["history"][0]["window_start"]
                != wanted
                and not over.is_set()
            ):
                time.sleep(0.005)
            seen.append(time.monotonic() - committed)
            over.wait(max(0.0, 1.0 - (time.monotonic() - began)))


def percentiles(values: list[float]) -> tuple[float, float, float]:
    return statistics.median(values), float(np.percentile(values, 99)), max(values)
