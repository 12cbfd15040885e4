"""Receivers of alerts, as local servers that keep what they get; and alerts to send."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from alerts.sinks.base import AlertSink, Row
from alerts.sinks.registry import sinks_of
from settings import load_settings

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
REASONS = (
    "212 clicks per minute; usually 4, and under 31 for 99 % of all",
    "looks at <b>prices</b> & [nothing](http://evil.example) *else*",
    "never seen at night",
)


def alert(name: str = "690a6d48ab49bc84", revision: int = 1, **changes: Any) -> Row:
    """A row of table ``alerts``."""
    reasons = [
        {"feature": "f", "value": 1.0, "expected": 0.5, "direction": "high", "contribution": 0.1, "text": text}
        for text in REASONS
    ]
    row = {
        "alert_id": name, "revision": revision, "user_id": "ada", "session_start": NOON, "session_end": NOON,
        "window_start": NOON, "first_window_start": NOON, "last_window_start": NOON + timedelta(minutes=7),
        "flagged_minutes": 5, "anomaly_score": 0.71, "anomaly_percentile": 99.97, "reasons": reasons,
        "model_version": "3", "state": "open", "merged_into": None, "raised_at": NOON, "batch_time": NOON,
        "batch_id": "b:1",
    }  # fmt: skip
    return row | changes


def sink(name: str, *settings: str) -> AlertSink:
    """The one of this name, which waits for nobody."""
    chosen = [f"alerts.sinks=[{name}]", "alerts.webhook_attempts=3", "sinks.pause_seconds=0", *settings]
    (found,) = sinks_of(load_settings("local", chosen)).values()
    return found


@dataclass
class Asked:
    """A request: method, path with its query, headers in lower case, and body."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """What it was asked; ``answer`` says with which status, headers and JSON it answers."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    answer: Callable[[Asked], tuple[int, dict[str, str], Any]] = lambda _: (200, {}, {})


@contextmanager
def receiver() -> Iterator[Receiver]:
    """A server on 127.0.0.1."""
    kept = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def _take(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            kept.asked.append(Asked(self.command, self.path, headers, body))
            status, more, content = kept.answer(kept.asked[-1])
            text = json.dumps(content).encode()
            self.send_response(status)
            for name, value in {**more, "Content-Length": str(len(text)), "Content-Type": "application/json"}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = _take

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    kept.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield kept
    finally:
        server.shutdown()
        server.server_close()


def path_of(asked: Asked) -> str:
    return urlsplit(asked.path).path
