"""A small platform for the tests of serving: a registry with two versions, and tables as the jobs fill them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from deltalake import write_deltalake

from features.definitions import FEATURE_VERSION
from features.tables import ALERTS, FEATURE_TABLE, SCORES, Table
from lake.schemas import arrow_schema
from registry.mlflow_registry import Registry
from scoring.model import Parameters
from serving.app import create_app
from serving.server import Serving, serving
from settings import Settings, load_settings
from tests.unit.training.samples import SMALL, feature_rows, small_model, small_reference
from training.model import fit
from training.summary import describe

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    content: Any


def ask(
    server: Serving,
    method: str,
    path: str,
    body: object = None,
    *,
    raw: bytes | Iterable[bytes] | None = None,
    **headers: str,
) -> Answer:
    """One request on a connection of its own; ``body`` as JSON, or ``raw`` bytes as they are or in chunks."""
    sent = raw if raw is not None else None if body is None else json.dumps(body).encode()
    given = {"Content-Type": "application/json"} if sent is not None else {}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection = HTTPConnection(server.host, server.port, timeout=60)
    try:
        connection.request(method, path, sent, given)
        answer = connection.getresponse()
        text = answer.read()
        names = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, names, json.loads(text) if "json" in names.get("content-type", "") else text)
    finally:
        connection.close()


def wait_until(condition: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds:g} s"
        time.sleep(0.05)


def registry_with_two_versions(folder: Path, name: str) -> Registry:
    """Versions 1 and 2 of a model; no champion."""
    registry = Registry(name, f"sqlite:///{folder}/mlflow.db")
    other = fit(feature_rows(), "default", Parameters(SMALL.trees, SMALL.subsample, seed=4))
    registry.log_and_register(small_model(), small_reference(), feature_rows(9))
    registry.log_and_register(other, describe(other, feature_rows(), 2.0, flagged_share=0.05), feature_rows(9))
    return registry


def settings_of(folder: Path, *overrides: str) -> Settings:
    """Settings of a server on a free port, on the tables and registry of a folder, where Kafka is away."""
    return load_settings(
        "local",
        [
            f"storage.root={folder}/lake",
            f"storage.checkpoints={folder}/checkpoints",
            f"model.tracking_uri=sqlite:///{folder}/mlflow.db",
            "kafka.bootstrap_servers=127.0.0.1:1",
            "serving.port=0",
            "serving.follow_seconds=0.2",
            "serving.rate_per_second=100000",
            "serving.burst=100000",
            *overrides,
        ],
    )


@contextmanager
def server_of(settings: Settings) -> Iterator[Serving]:
    with serving(create_app(settings), settings.serving) as server:
        yield server


def append(root: Path, table: Table, rows: list[dict[str, Any]]) -> None:
    """Append rows, null where nothing is said."""
    schema = arrow_schema(table)
    full = [dict.fromkeys(schema.names) | row for row in rows]
    write_deltalake(f"{root}/{table.name}", pa.Table.from_pylist(full, schema), mode="append")


def minute(number: int) -> datetime:
    return NOON + timedelta(minutes=number)


def feature_row(user: str, number: int, batch: int = 0, **features: float) -> dict[str, Any]:
    return {
        "user_id": user,
        "window_start": minute(number),
        "session_start": NOON,
        "session_is_split": False,
        "session_events": 20.0,
        "feature_version": FEATURE_VERSION,
        **stamp(batch),
        **features,
    }


def stamp(batch: int) -> dict[str, Any]:
    return {"batch_time": minute(600) + timedelta(seconds=batch), "batch_id": f"q {batch}"}


def judged(row: Mapping[str, Any], score: float, verdict: str = "normal") -> dict[str, Any]:
    return {
        **row,
        "anomaly_score": score,
        "anomaly_percentile": 100 * score,
        "verdict": verdict,
        "reasons": [REASON] if verdict == "anomaly" else None,
        "model_name": "m",
        "model_version": "1",
        "threshold": 0.6,
        "scored_at": minute(601),
    }


REASON = {
    "feature": "clicks_per_minute",
    "value": 200.0,
    "expected": 2.0,
    "direction": "high",
    "contribution": 0.2,
    "text": "200 clicks per minute; usually 2",
}


def alert_row(alert_id: str, user: str, number: int, batch: int = 0, **changed: object) -> dict[str, Any]:
    return {
        "alert_id": alert_id,
        "revision": 1 + batch,
        "user_id": user,
        "session_start": minute(number),
        "session_end": minute(number + 5),
        "window_start": minute(number + 1),
        "first_window_start": minute(number),
        "last_window_start": minute(number + 2),
        "flagged_minutes": 2,
        "anomaly_score": 0.8,
        "anomaly_percentile": 99.9,
        "reasons": [REASON],
        "model_version": "1",
        "state": "open",
        "raised_at": minute(number + 3),
        **stamp(batch),
        **changed,
    }


def fill(root: Path) -> None:
    """Two users with minutes and scores, three alerts of which one was revised."""
    calm = [feature_row("calm", number, clicks_per_minute=2.0, session_minutes=1.0 + number) for number in range(4)]
    bot = [feature_row("bot/1", number, clicks_per_minute=200.0, events_per_minute=240.0) for number in range(3)]
    append(root, FEATURE_TABLE, [*calm, *bot])
    append(root, FEATURE_TABLE, [feature_row("calm", 3, 1, clicks_per_minute=3.0, session_minutes=4.0)])
    append(root, SCORES, [judged(row, 0.4) for row in calm] + [judged(row, 0.8, "anomaly") for row in bot])
    append(root, ALERTS, [alert_row("a-1", "bot/1", 0), alert_row("a-2", "calm", 10), alert_row("a-3", "bot/1", 20)])
    append(root, ALERTS, [alert_row("a-2", "calm", 10, 1, state="withdrawn", flagged_minutes=0)])
