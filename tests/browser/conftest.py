"""A server on tables of its own, without Kafka; rows are appended as the jobs would."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from features.definitions import FEATURE_NAMES
from features.tables import ALERTS, SCORES
from lake import arrow_tables
from serving.app import create_app
from serving.server import Serving, serving
from settings import Settings, load_settings
from tests.conftest import Seen, open_page

NOBODY = "127.0.0.1:9"
"""An address where no broker is."""


def settings_of(folder: Path) -> Settings:
    return load_settings(
        "local",
        [
            f"storage.root={folder}/lake",
            f"storage.checkpoints={folder}/checkpoints",
            f"model.tracking_uri=sqlite:///{folder}/mlflow.db",
            f"kafka.bootstrap_servers={NOBODY}",
            "serving.port=0",
        ],
    )


class Platform:
    """The tables of a test, filled without Spark."""

    def __init__(self, settings: Settings) -> None:
        self.root = settings.storage.root

    def score(self, user: str, minutes: int = 1, *, strange: bool = True, ago: int = 0) -> datetime:
        """Score rows of the user, one a minute; the last one, which is strange if wanted, began ``ago`` minutes ago."""
        last = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=ago)
        times = [last - timedelta(minutes=back) for back in reversed(range(minutes))]
        rows = [score_row(user, when, strange=strange and when == last) for when in times]
        arrow_tables.append(self.root, SCORES, rows, batch_id=f"test:{uuid.uuid4().hex[:6]}")
        return last

    def alert(self, user: str, text: str, **more: Any) -> str:
        """An alert about the user; returns its id."""
        minute = self.score(user)
        row = score_row(user, minute, strange=True)
        copied = ("user_id", "session_start", "window_start", "anomaly_score", "anomaly_percentile", "model_version")
        told = {"flagged_minutes": 1, "reasons": [reason(text)], "state": "open", "merged_into": None}
        times = dict.fromkeys(("session_end", "first_window_start", "last_window_start"), minute)
        alert = {name: row[name] for name in copied} | {"alert_id": uuid.uuid4().hex, "revision": 1} | told | times
        alert |= {"raised_at": row["scored_at"], **batch(), **more}
        arrow_tables.append(self.root, ALERTS, [alert], batch_id=alert["batch_id"])
        return str(alert["alert_id"])


def batch() -> dict[str, Any]:
    return {"batch_time": datetime.now(UTC), "batch_id": f"test:{uuid.uuid4().hex[:6]}"}


def reason(text: str) -> dict[str, Any]:
    told = {"feature": "clicks_per_minute", "value": 212.0, "expected": 4.0, "direction": "high"}
    return {**told, "contribution": 0.2, "text": text}


def score_row(user: str, minute: datetime, *, strange: bool) -> dict[str, Any]:
    """A row of scores: 4 of everything, but for 212 clicks where it is strange."""
    values = dict.fromkeys(FEATURE_NAMES, 4.0) | {"clicks_per_minute": 212.0 if strange else 4.0}
    who = {"user_id": user, "window_start": minute, "session_start": minute, "session_is_split": False}
    when = {"last_received_at": datetime.now(UTC) - timedelta(seconds=2), "scored_at": datetime.now(UTC)}
    model = {"feature_version": "1", "model_name": "m", "model_version": "1", "threshold": 0.66}
    calm = {"anomaly_score": 0.4, "anomaly_percentile": 50.0, "verdict": "normal", "reasons": []}
    wild = {"anomaly_score": 0.81, "anomaly_percentile": 99.97, "verdict": "anomaly", "reasons": [reason("212 clicks")]}
    return who | values | when | model | (wild if strange else calm) | batch()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Serving]:
    settings = settings_of(folder)
    with serving(create_app(settings), settings.serving) as server:
        yield server


@pytest.fixture(scope="module")
def platform(folder: Path) -> Platform:
    return Platform(settings_of(folder))


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def page(browser: Browser, server: Serving, seen: Seen) -> Iterator[Page]:
    """The page as it is when it is loaded and live. Whatever it writes to the console fails the test."""
    with open_page(browser, server.url, seen) as page:
        yield page
    assert seen.complaints == []
