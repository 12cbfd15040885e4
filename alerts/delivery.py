"""Sending alerts on, in the background: the table is the queue, and a note beside the checkpoints the place in it.

A delivery reads the revisions after its place, gives them to its sink and moves on. So a receiver that is away keeps
nobody waiting and loses nothing, and what was under way when the process died is delivered again: at least once, and
``alert_id`` with ``revision`` tells a repetition.
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import datetime

import pyarrow.compute as pc

from alerts.book import EPOCH
from alerts.sinks.base import AlertSink, Row
from features.errors import BehaviorError, EnvironmentProblem
from features.tables import ALERTS
from lake import arrow_tables, notes
from lake.location import TableLocation
from lake.snapshot import OpenTable

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
MAX_PAUSE = 30.0


class Delivery:
    """One sink's thread. ``delivered`` and ``given_up`` count revisions; ``trouble`` is what holds it up now."""

    def __init__(self, name: str, sink: AlertSink, root: str, folder: str) -> None:
        self.name, self.sink, self.root, self.folder = name, sink, root, folder
        self.delivered = self.given_up = 0
        self.trouble: str | None = None
        self._table = OpenTable(TableLocation.under(root, ALERTS))
        self._wake, self._stopped = threading.Event(), threading.Event()
        self._place = self._first_place()
        self._thread = threading.Thread(target=self._run, name=f"sink-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def notify(self) -> None:
        """There are new alerts; returns at once."""
        self._wake.set()

    def drain(self, until: datetime, seconds: float) -> None:
        """Wait until everything written up to ``until`` is delivered or given up.

        Raises:
            EnvironmentProblem: that takes longer; what is left stays in the table for the next run.
        """
        end = time.monotonic() + seconds
        while self._place < until:
            self.notify()
            if time.monotonic() >= end or not self._thread.is_alive():
                raise EnvironmentProblem(
                    f"Alerts are in table alerts, but {self.name} did not take all of them: "
                    f"{self.trouble or f'no answer within {seconds:g} s'}. The next run sends the rest."
                )
            time.sleep(0.02)

    def stop(self, seconds: float = 5.0) -> None:
        self._stopped.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(seconds)

    # --- inside ---

    def _first_place(self) -> datetime:
        note = notes.read(self.folder, self.name)
        if note is not None:
            return datetime.fromisoformat(note["through"])
        times = [] if self.sink.from_start else arrow_tables.read(self.root, ALERTS, ["batch_time"])["batch_time"]
        place = pc.max(times).as_py() if len(times) else None
        self._note(place or EPOCH)
        return place or EPOCH

    def _note(self, place: datetime) -> None:
        notes.write(self.folder, self.name, {"through": place.isoformat()})

    def _run(self) -> None:
        pause = 1.0
        while not self._stopped.is_set():
            try:
                while (rows := self._next()) and not self._stopped.is_set():
                    lost = self.sink.send(rows)
                    self.given_up += lost
                    self.delivered += len(rows) - lost
                    self._place = rows[-1]["batch_time"]
                    self._note(self._place)
                    self._stopped.wait(self.sink.pause_seconds)
                self.trouble, pause = None, 1.0
                self._wake.wait(LOOK_SECONDS)
                self._wake.clear()
            except Exception as error:  # whatever a sink raises: a thread that dies silently would be worse
                if self.trouble is None and isinstance(error, BehaviorError):
                    log.warning("alerts wait for %s: %s", self.name, error)
                elif self.trouble is None:
                    log.exception("alerts wait for %s, which failed", self.name)
                self.trouble = str(error) or type(error).__name__
                self._stopped.wait(pause)
                pause = min(2 * pause, MAX_PAUSE)

    def _next(self) -> list[Row]:
        """The next revisions in the order in which they were written, no commit cut in two."""
        waiting = arrow_tables.read_after(self._table, ALERTS, self._place, columns=["batch_time"])
        times = waiting["batch_time"].to_pylist()
        if not times:
            return []
        until = sorted(times)[min(self.sink.max_rows, len(times)) - 1]
        table = arrow_tables.read_after(self._table, ALERTS, self._place, until)
        rows: list[Row] = table.sort_by([("batch_time", "ascending"), ("alert_id", "ascending")]).to_pylist()
        return rows
