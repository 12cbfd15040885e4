"""Sending alerts on, in the background: the table is the queue, and a note beside the checkpoints the place in it.

A courier reads the revisions after its place, delivers them and moves on. So a receiver that is away keeps nobody
waiting and loses nothing, and what was under way when the process died is delivered again: at least once, and
``alert_id`` with ``revision`` tells a repetition.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import httpx
import pyarrow.compute as pc
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from features.errors import BehaviorError, EnvironmentProblem
from features.tables import ALERTS
from jobs.runtime import arrow_lake, notes
from jobs.runtime.producer import EventProducer, producer_from
from jobs.runtime.settings import AlertSettings, KafkaSettings

log = logging.getLogger(__name__)
logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells each address at INFO, and the webhook's is a secret

MOST_AT_ONCE = 1000
LOOK_SECONDS = 5.0
LONGEST_PAUSE = 30.0
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)

Row = dict[str, Any]
Deliver = Callable[[Sequence[Row]], int]
"""Delivers rows and returns how many were given up; raises EnvironmentProblem when they should be tried again later."""


class Courier:
    """One receiver's thread. ``delivered`` and ``given_up`` count revisions; ``trouble`` is what holds it up now.

    ``from_start`` says whether a receiver without a place in the queue gets what is in the table already.
    """

    def __init__(
        self, name: str, root: str, folder: str, deliver: Deliver, *, from_start: bool, most: int = MOST_AT_ONCE
    ) -> None:
        self.name, self.root, self.folder, self.most = name, root, folder, most
        self.delivered = self.given_up = 0
        self.trouble: str | None = None
        self._deliver = deliver
        self._wake, self._stopped = threading.Event(), threading.Event()
        self._place = self._first_place(from_start=from_start)
        self._thread = threading.Thread(target=self._run, name=f"courier-{name}", daemon=True)

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

    def _first_place(self, *, from_start: bool) -> datetime:
        note = notes.read(self.folder, self.name)
        if note is not None:
            return datetime.fromisoformat(note["through"])
        times = [] if from_start else arrow_lake.read(self.root, ALERTS, ["batch_time"])["batch_time"]
        place = pc.max(times).as_py() if len(times) else None
        self._note(place or BEGINNING)
        return place or BEGINNING

    def _note(self, place: datetime) -> None:
        notes.write(self.folder, self.name, {"through": place.isoformat()})

    def _run(self) -> None:
        pause = 1.0
        while not self._stopped.is_set():
            try:
                while (rows := self._next()) and not self._stopped.is_set():
                    lost = self._deliver(rows)
                    self.given_up += lost
                    self.delivered += len(rows) - lost
                    self._place = rows[-1]["batch_time"]
                    self._note(self._place)
                self.trouble, pause = None, 1.0
                self._wake.wait(LOOK_SECONDS)
                self._wake.clear()
            except BehaviorError as error:
                if self.trouble is None:
                    log.warning("alerts wait for %s: %s", self.name, error)
                self.trouble = str(error)
                self._stopped.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    def _next(self) -> list[Row]:
        """The next revisions in the order in which they were written, no commit cut in two."""
        waiting = pc.field("batch_time") > self._place
        times = arrow_lake.read(self.root, ALERTS, ["batch_time"], waiting)["batch_time"].to_pylist()
        if not times:
            return []
        until = sorted(times)[min(self.most, len(times)) - 1]
        table = arrow_lake.read(self.root, ALERTS, where=waiting & (pc.field("batch_time") <= until))
        rows: list[Row] = table.sort_by([("batch_time", "ascending"), ("alert_id", "ascending")]).to_pylist()
        return rows


def message(row: Row) -> bytes:
    """An alert as receivers get it: JSON in UTF-8, times in ISO-8601, without the batch's columns."""
    shown = {name: _plain(value) for name, value in row.items() if name not in ("batch_time", "batch_id")}
    return json.dumps(shown, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def _plain(value: object) -> object:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value


def kafka_courier(root: str, folder: str, kafka: KafkaSettings) -> Courier:
    """To ``kafka.alerts_topic``, keyed by user, from the first alert on."""
    producer: EventProducer | None = None

    def deliver(rows: Sequence[Row]) -> int:
        nonlocal producer
        try:
            if producer is None:
                producer = producer_from(kafka, topic=kafka.alerts_topic, timeout=10.0)
                producer.check()
            for row in rows:
                producer.send_raw(message(row), str(row["user_id"]).encode(errors="replace"))
            producer.flush()
        except BehaviorError as error:
            if producer is not None:
                with suppress(BehaviorError):
                    producer.abandon()
            producer = None  # a fresh one: the old one keeps counting what has failed
            raise EnvironmentProblem(str(error)) from error
        return 0

    return Courier("kafka", root, folder, deliver, from_start=True)


def webhook_courier(root: str, folder: str, chosen: AlertSettings) -> Courier:
    """A POST per revision to ``alerts.webhook``; one that is refused or not answered so often is given up."""
    assert chosen.webhook is not None
    address, token = chosen.webhook.get_secret_value(), chosen.webhook_token
    headers = {"Content-Type": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token.get_secret_value()}"
    client = httpx.Client(timeout=chosen.webhook_seconds, headers=headers, follow_redirects=False, trust_env=False)
    attempts = Retrying(
        retry=retry_if_exception_type(httpx.HTTPError),  # an address that is none is not tried again
        stop=stop_after_attempt(chosen.webhook_attempts),
        wait=wait_random_exponential(multiplier=0.5, max=10),
        reraise=True,
    )

    def post(row: Row) -> None:
        mark = {"Idempotency-Key": f"{row['alert_id']}-{row['revision']}"}
        client.post(address, content=message(row), headers=mark).raise_for_status()

    def deliver(rows: Sequence[Row]) -> int:
        lost = 0
        for row in rows:
            try:
                attempts.copy()(post, row)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                lost += 1
                log.warning(
                    "alert %s revision %s was given up after %d attempts: the webhook %s",
                    row["alert_id"], row["revision"], chosen.webhook_attempts, _why(error),
                )  # fmt: skip
        return lost

    return Courier("webhook", root, folder, deliver, from_start=False, most=1)


def _why(error: httpx.HTTPError | httpx.InvalidURL) -> str:
    """Without the address, which may hold a secret."""
    if isinstance(error, httpx.HTTPStatusError):
        return f"answered {error.response.status_code}"
    return f"did not answer ({type(error).__name__})"
