"""A live run with every kind of writer beside it, each a process of its own: nothing is lost, nothing comes twice."""

from __future__ import annotations

import os
import re
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from features.revisions import latest_in_arrow
from features.tables import ALERTS, EVENTS, FEATURE_TABLE, FEEDBACK, REJECTED_EVENTS, SCORES, Table
from kafka.producer import EventProducer
from lake import arrow_tables
from tests.integration.whole_run import EVENTS_TOPIC, PATIENCE, job, rows_of_anybody, running, servers, until

pytestmark = [pytest.mark.integration, pytest.mark.slow]

SECONDS = float(os.environ.get("BEHAVIOR_TEST_SECONDS", "150"))
ROUNDS = int(os.environ.get("BEHAVIOR_TEST_ROUNDS", "1"))
AT_ONCE = ("maintenance.fold_after_minutes=0", "maintenance.keep_revisions_hours=0", "maintenance.vacuum_hours=24")


@dataclass(eq=False)
class Analyst(threading.Thread):
    """Gives feedback on alerts as they come, by the run's server; keeps what it was told is saved."""

    folder: Path
    over: threading.Event
    told: list[str] = field(default_factory=list)
    refused: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    def run(self) -> None:
        with httpx.Client(base_url=address(self.folder), timeout=60) as server:
            while not self.over.wait(1.0):
                for alert in read(self.folder, ALERTS, "alert_id")["alert_id"].unique().to_pylist()[:1]:
                    note = f"look {len(self.told)}"
                    answer = server.post(f"/alerts/{alert}/feedback", json={"verdict": True, "note": note})
                    if answer.status_code == httpx.codes.CREATED:
                        self.told.append(note)
                    self.refused[answer.status_code] += 1


@dataclass(eq=False)
class Spammer(threading.Thread):
    """Sends records that are no events; half of them become some when larger ones are taken."""

    folder: Path
    over: threading.Event

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    def run(self) -> None:
        with EventProducer(servers(self.folder), EVENTS_TOPIC, timeout=600) as producer:
            number = 0
            while not self.over.wait(0.2):
                number += 1
                event = {"user_id": f"large-{number % 7}", "action": "view", "page": "/", "much": "x" * 600}
                producer.send_raw(b"no event", None)
                producer.send_raw(str({**event, "timestamp": now()}).replace("'", '"').encode(), b"large")
                producer.flush()


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def read(folder: Path, table: Table, *columns: str) -> pa.Table:
    return arrow_tables.read(str(folder / "lake"), table, list(columns) or None)


def address(folder: Path) -> str:
    def said() -> re.Match[str] | None:
        return re.search(r"Live page: (http://\S+:\d+)/", (folder.parent / "live.out").read_text(encoding="utf-8"))

    until(said, "the server's address")
    found = said()
    assert found is not None
    return found[1]


def every_kind_of_job(folder: Path, erased: list[str]) -> None:
    """One job after the other."""
    small, large = ("ingest.max_bytes=512",), ("ingest.max_bytes=32768",)
    job(folder, "maintain_tables", more=(*small, *AT_ONCE))
    job(folder, "replay_rejected", "--reason", "too_large", more=large)
    spared = {*erased, *read(folder, ALERTS, "user_id")["user_id"].to_pylist()}  # their feedback would go, too
    person = next(u for u in read(folder, EVENTS, "user_id")["user_id"].unique().to_pylist() if u not in spared)
    erased.append(person)
    job(folder, "erase_user", "--user-id", person, more=small)
    job(folder, "check_parity", "--all", "--repair", more=small, codes=(0, 1))
    job(folder, "check_ledger", "--repair", more=small)


def minutes(rows: pa.Table, time_column: str) -> set[tuple[str, int]]:
    floor = pc.floor_temporal(rows[time_column], unit="minute").cast(pa.int64())
    return set(zip(rows["user_id"].to_pylist(), floor.to_pylist(), strict=True))


def account(folder: Path, analyst: Analyst) -> dict[str, Any]:
    """What should be zero, counted from the tables' files."""
    places: Counter[tuple[int, int]] = Counter()
    for table in (EVENTS, REJECTED_EVENTS):
        rows = read(folder, table, "partition", "offset")
        places.update(zip(rows["partition"].to_pylist(), rows["offset"].to_pylist(), strict=True))
    newest: dict[int, int] = {}
    for partition, offset in places:
        newest[partition] = max(newest.get(partition, -1), offset)
    events = read(folder, EVENTS, "user_id", "timestamp")
    features = latest_in_arrow(read(folder, FEATURE_TABLE), FEATURE_TABLE)
    features = features.filter(pc.greater(features["events_per_minute"], 0))
    scores = latest_in_arrow(read(folder, SCORES), SCORES)
    scores = scores.filter(pc.greater(scores["events_per_minute"], 0))
    in_events, in_features = minutes(events, "timestamp"), minutes(features, "window_start")
    saved = Counter(read(folder, FEEDBACK, "note")["note"].to_pylist())
    return {
        "offsets missing": sum(last + 1 for last in newest.values()) - len(places),
        "offsets twice": sum(count - 1 for count in places.values()),
        "minutes without a feature row, or without events": len(in_events ^ in_features),
        "minutes without a score, or without a feature row": len(in_features ^ minutes(scores, "window_start")),
        "events that the newest revisions do not add up to": events.num_rows
        - round(pc.sum(features["events_per_minute"]).as_py()),
        "events that the newest scores do not add up to": events.num_rows
        - round(pc.sum(scores["events_per_minute"]).as_py()),
        "feedback told and not there": sum(1 for note in analyst.told if not saved[note]),
        "feedback there twice": sum(count - 1 for count in saved.values()),
    }


@pytest.mark.timeout(7200)
def test_a_live_run_with_maintenance_erasure_replay_repair_and_feedback_beside_it_loses_and_doubles_nothing(
    tmp_path: Path,
) -> None:
    for number in range(ROUNDS):
        folder, over, erased = tmp_path / f"round-{number}" / "run", threading.Event(), list[str]()
        folder.mkdir(parents=True)
        rate = ["--rate", "300", "--set", "ingest.max_bytes=512"]
        with running(folder, "live", *rate):
            until(partial(rows_of_anybody, folder), "the first scores")
            analyst, spammer = Analyst(folder, over), Spammer(folder, over)
            analyst.start()
            spammer.start()
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                every_kind_of_job(folder, erased)
            over.set()
            analyst.join()
            spammer.join()
            job(folder, "check_ledger")
        with running(folder, "after", *rate, "--duration", "60") as last:  # what was cut off, and what is owed
            assert last.wait(PATIENCE) == 0
        wrong = account(folder, analyst)
        sizes = {table.name: read(folder, table, table.time).num_rows for table in (EVENTS, REJECTED_EVENTS, SCORES)}
        print(f"round {number + 1}: {sizes}, {len(erased)} times every kind of job beside; {wrong}")
        assert analyst.told, analyst.refused
        assert set(wrong.values()) == {0}, wrong
        assert " 0 differences" in job(folder, "check_parity", "--all")
