"""A run of the whole platform on one machine: its stages, from the first query to the summary."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

from pyspark.sql.streaming.query import StreamingQuery
from rich.console import Console

from features.errors import BehaviorError, EnvironmentProblem, TooFewRows
from features.tables import EVENTS, FEATURE_TABLE, REJECTED_EVENTS
from lake.spark_tables import Lake
from local.event_source import EventSource
from local.refusals import why_nothing
from local.run_options import RunOptions
from local.summary import summarise
from local.watch import Watch, display
from settings import Settings

log = logging.getLogger(__name__)

REFRESH_SECONDS = 1.0
MAX_WAIT_SECONDS = 60.0
"""A first model waits for most of the simulated past, or for so long after the first event."""
PAUSE_SECONDS = 20.0
"""Until a first model is tried again for which there was too little behaviour."""
ALERTS_SECONDS = 20.0
"""How long the end of a run waits for those who receive alerts."""


class Alerting(Protocol):
    """Raises alerts in a thread of its own; ``failure`` is why it has ended by itself."""

    failure: BehaviorError | None

    def start(self) -> None: ...

    def wake(self) -> None: ...

    def drain(self, seconds: float) -> None: ...

    def stop(self) -> None: ...


class Online(Protocol):
    """Keeps at hand what the server answers about one person, in a thread of its own."""

    def start(self) -> None: ...

    def wake(self) -> None: ...

    def stop(self) -> None: ...


class Running(Protocol):
    """The query at work; ``catch_up`` does what it owes."""

    @property
    def query(self) -> StreamingQuery: ...

    def catch_up(self) -> str | None: ...

    def when_scored(self, call: Callable[[], None]) -> None: ...

    def stop(self) -> None: ...


@dataclass(frozen=True)
class Parts:
    """The jobs of a run, as it calls them."""

    start: Callable[[], Running]
    has_champion: Callable[[], bool]
    train: Callable[[], None]
    alerts: Callable[[], Alerting]
    online: Online | None = None


@dataclass
class Pipeline:
    """A run: the query that does the whole way, then alerts.

    Attributes:
        began: what :func:`time.monotonic` said at the start of the run.
    """

    options: RunOptions
    settings: Settings
    lake: Lake
    console: Console
    source: EventSource
    parts: Parts
    began: float
    watch: Watch = field(init=False)
    running: Running | None = None
    alerts: Alerting | None = None
    train_after: float | None = None

    def __post_init__(self) -> None:
        self.watch = Watch(self.settings.storage.root, began=self.began)

    # --- the run ---

    def run(self) -> None:
        with display(self.console, self.watch, self.began) as show:
            self.running = self.parts.start()
            if self.parts.online is not None:
                self.parts.online.start()
                self.running.when_scored(self.parts.online.wake)
            if not self.parts.has_champion():
                self._learn(show)
            self.alerts = self.parts.alerts()
            self.alerts.start()
            self.running.when_scored(self.alerts.wake)
            self._until(self._caught_up, show, "catching up")
            if not self.options.inputs or self.options.rate is not None or self.options.follow:
                self.watch.live_since = time.time()
            self._until(self._over, show, "live")
            self.source.stop()
            with ThreadPoolExecutor(1) as aside:
                drained = aside.submit(self._drain)
                self._until(drained.done, show, "finishing what has arrived")
                drained.result()
            self._drain_alerts()
            self.watch.poll()

    def summary(self) -> None:
        file = self.options.label_file
        labels = file if self.options.simulates(self.settings) and file.is_file() else None
        summarise(self.console, self.lake, self.watch, labels=labels, seconds=time.monotonic() - self.began)

    def stop(self) -> None:
        self.source.stop()
        if self.alerts is not None:
            self.alerts.stop()
        if self.running is not None:
            with contextlib.suppress(Exception):
                self.running.stop()
        if self.parts.online is not None:
            self.parts.online.stop()

    # --- stages ---

    def _enough_to_train(self) -> bool:
        """All of a file, or the head start of a simulation, or what has come within a minute."""
        rows, now = self.watch.counters[FEATURE_TABLE.name].total, time.monotonic()
        if self.source.ended:
            self._drain()
            return True
        enough = rows >= self.settings.model.min_training_rows
        if self._waited_in_vain():
            if not enough:
                raise EnvironmentProblem(
                    f"There is no model yet, and {self.settings.kafka.topic} gave {rows:,} rows of features within "
                    f"DURATION; a model needs {self.settings.model.min_training_rows:,}. Leave DURATION out to wait."
                )
            return True
        if self.train_after is None and self.watch.ingested > 0:
            self.train_after = now + MAX_WAIT_SECONDS
        waited = self.train_after is not None and now > self.train_after
        return enough and (waited or 0 < self._most_of_the_past <= self.watch.ingested)

    @property
    def _most_of_the_past(self) -> float:
        """Events after which most of the simulated past is in; 0 where none is simulated."""
        return 0.8 * 60 * self.options.pace * self.options.head_start if self.options.simulates(self.settings) else 0.0

    def _caught_up(self) -> bool:
        """There are scores, and the newest batch of ingest took in what arrived in the last seconds.

        Not before the simulated past is in: where there is a champion already, the first scores come sooner than that,
        and its events would count as live ones that are late.
        """
        if self.source.ended or self._waited_in_vain():
            return True
        if self.watch.first_score_at is None or self.watch.ingested < self._most_of_the_past:
            return False
        progress: Any = None if self.running is None else self.running.query.lastProgress
        if progress is None:
            return False
        behind = sum(
            int(float(source["metrics"].get("maxOffsetsBehindLatest", "0") or 0)) for source in progress["sources"]
        )
        return self.watch.ingested > 0 and behind == 0

    def _over(self) -> bool:
        if self.options.inputs:
            return self.source.ended or (self.options.follow and self._time_is_up())
        if self.source.ended:
            raise EnvironmentProblem(
                f"The simulator has stopped; {self.options.local / 'logs' / 'source.log'} says why."
            )
        return self._time_is_up()

    def _time_is_up(self) -> bool:
        return self.options.duration is not None and time.monotonic() - self.began > self.options.duration

    def _waited_in_vain(self) -> bool:
        """Others send the events, and may send none; a run that sends its own is given the time to show scores."""
        return self._time_is_up() and not self.source.sends

    def _drain(self) -> None:
        if self.running is not None:
            self.running.query.processAllAvailable()
            left = self.running.catch_up()
            if left is not None:
                self.console.print(left, markup=False, highlight=False)

    def _learn(self, show: Any) -> None:
        """Train and promote a first model as soon as there is enough to learn from."""
        while True:
            self._until(self._enough_to_train, show, "waiting for behaviour to learn from")
            show("training the first model")
            try:
                self.parts.train()
            except TooFewRows as error:
                if self.source.ended or self._waited_in_vain():
                    raise self._nothing_to_learn_from(error) from None
                log.info("no model yet: %s", error)
                time.sleep(PAUSE_SECONDS)
                continue
            return

    def _nothing_to_learn_from(self, error: TooFewRows) -> TooFewRows:
        """What is to be said where there is too little for a first model: more was rejected than accepted, perhaps."""
        counters = self.watch.counters
        if counters[REJECTED_EVENTS.name].total <= counters[EVENTS.name].total:
            return error
        why = why_nothing(self.settings.storage.root)
        accepted = counters[EVENTS.name].total
        return error if why is None else TooFewRows(f"{accepted:,} events were accepted. {why}")

    def _drain_alerts(self) -> None:
        """Alerts that a receiver does not take are in their table all the same: that fails no run."""
        if self.alerts is None:
            return
        try:
            self.alerts.drain(ALERTS_SECONDS)
        except EnvironmentProblem as problem:
            self.console.print(str(problem), markup=False, highlight=False)

    def _until(self, condition: Any, show: Any, stage: str) -> None:
        while not condition():
            show(stage)
            self._check()
            time.sleep(REFRESH_SECONDS)

    def _check(self) -> None:
        if self.running is not None and not self.running.query.isActive:
            error = self.running.query.exception()
            raise error or BehaviorError(f"Query {self.running.query.name} has stopped.")
        if self.alerts is not None and self.alerts.failure is not None:
            raise self.alerts.failure
