"""The main job: every streaming query in one Spark application, with all that they need on one machine.

Starts a broker (unless kafka.embedded is off), sends simulated behaviour or replays a file, ingests, builds features,
trains and promotes a first model when there is no champion, scores, and shows it all as it happens: here, and on the
live page of the server that it starts (python -m serving).
Reads the topic; writes every table and, the first time, the model registry.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import psutil
import typer
from pyspark.errors import StreamingQueryException
from pyspark.sql import SparkSession
from pyspark.sql.streaming.query import StreamingQuery
from rich.console import Console

from features.errors import BehaviorError, EnvironmentProblem, TooFewRows, UsageError
from features.tables import FEATURE_TABLE
from jobs import build_features, ingest_events
from jobs.runtime import cli
from jobs.runtime.broker import EmbeddedBroker
from jobs.runtime.event_source import EventSource
from jobs.runtime.lake import Lake
from jobs.runtime.logs import to_files
from jobs.runtime.server_process import ServerProcess
from jobs.runtime.session import spark_session
from jobs.runtime.settings import Settings, load_settings, local_overrides
from jobs.runtime.streams import failure_of
from jobs.runtime.summary import summarise
from jobs.runtime.watch import Watch, display

if TYPE_CHECKING:
    from jobs.raise_alerts import AlertStream

log = logging.getLogger(__name__)

REFRESH_SECONDS = 1.0
HEAD_START_EVENTS = 60_000
HEAD_START_MINUTES = 60.0
"""A first model needs to have seen whole sessions: so much of the past is simulated before live events begin."""
LONGEST_WAIT_SECONDS = 60.0
"""... or so much time has passed since the first event came."""
PAUSE_SECONDS = 20.0
"""Until a first model is tried again for which there was too little behaviour."""
ALERTS_SECONDS = 20.0
"""How long the end of a run waits for those who receive alerts."""


@dataclass(frozen=True)
class Wish:
    """What the user asked for on the command line."""

    duration: float | None
    input: Path | None
    rate: float | None
    shift_to_now: bool
    seed: int
    local: Path

    @property
    def pace(self) -> float:
        """Simulated events per second."""
        return self.rate or 100.0

    @property
    def head_start(self) -> float:
        """Minutes of the past that are simulated first."""
        return min(HEAD_START_MINUTES, HEAD_START_EVENTS / self.pace / 60)

    def simulates(self, settings: Settings) -> bool:
        """Whether the run makes up its users: not into a Kafka of somebody's own."""
        return self.input is None and settings.kafka.embedded


@dataclass
class Pipeline:
    """The parts of a run, in the order in which they come up."""

    wish: Wish
    settings: Settings
    spark: SparkSession
    console: Console
    source: EventSource
    began: float
    lake: Lake = field(init=False)
    watch: Watch = field(init=False)
    queries: list[StreamingQuery] = field(default_factory=list)
    alerts: AlertStream | None = None
    train_after: float | None = None

    def __post_init__(self) -> None:
        self.lake = Lake(self.spark, self.settings.storage.root)
        self.watch = Watch(self.settings.storage.root, began=self.began)

    # --- the run ---

    def run(self) -> None:
        with display(self.console, self.watch, self.began) as show:
            self._query(ingest_events.start(self.spark, self.lake, self.settings))
            self._query(build_features.start(self.spark, self.lake, self.settings))
            if not self._has_champion():
                self._learn(show)
            self._score()
            self._until(self._caught_up, show, "catching up")
            if self.wish.input is None or self.wish.rate is not None:
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
        summarise(self.console, self.lake, self.watch, labels=self._labels(), seconds=time.monotonic() - self.began)

    def stop(self) -> None:
        self.source.stop()
        if self.alerts is not None:
            self.alerts.stop()
        for query in self.queries:
            with contextlib.suppress(Exception):
                query.stop()

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
            self.train_after = now + LONGEST_WAIT_SECONDS
        waited = self.train_after is not None and now > self.train_after
        return enough and (waited or 0 < self._most_of_the_past <= self.watch.ingested)

    @property
    def _most_of_the_past(self) -> float:
        """Events after which most of the simulated past is in; 0 where none is simulated."""
        return 0.8 * 60 * self.wish.pace * self.wish.head_start if self.wish.simulates(self.settings) else 0.0

    def _caught_up(self) -> bool:
        """There are scores, and the newest batch of ingest took in what arrived in the last seconds.

        Not before the simulated past is in: where there is a champion already, the first scores come sooner than that,
        and its events would count as live ones that are late.
        """
        if self.source.ended or self._waited_in_vain():
            return True
        if self.watch.first_score_at is None or self.watch.ingested < self._most_of_the_past:
            return False
        progress: Any = self.queries[0].lastProgress
        if progress is None:
            return False
        behind = sum(
            int(float(source["metrics"].get("maxOffsetsBehindLatest", "0") or 0)) for source in progress["sources"]
        )
        return self.watch.ingested > 0 and behind == 0

    def _over(self) -> bool:
        if self.wish.input is not None:
            return self.source.ended
        if self.source.ended:
            raise EnvironmentProblem(f"The simulator has stopped; {self.wish.local / 'logs' / 'source.log'} says why.")
        return self._time_is_up()

    def _time_is_up(self) -> bool:
        return self.wish.duration is not None and time.monotonic() - self.began > self.wish.duration

    def _waited_in_vain(self) -> bool:
        """Others send the events, and may send none; a run that sends its own is given the time to show scores."""
        return self._time_is_up() and not self.source.sends

    def _drain(self) -> None:
        for query in self.queries:
            query.processAllAvailable()

    # MLflow and scikit-learn take eight seconds to import: they do so while the first events come in.

    def _has_champion(self) -> bool:
        from jobs.runtime.models import registry_of  # noqa: PLC0415

        return registry_of(self.settings).resolve_champion() is not None

    def _learn(self, show: Any) -> None:
        """Train and promote a first model as soon as there is enough to learn from."""
        while True:
            self._until(self._enough_to_train, show, "waiting for behaviour to learn from")
            show("training the first model")
            try:
                self._train()
            except TooFewRows as error:
                if self.source.ended or self._waited_in_vain():
                    raise
                log.info("no model yet: %s", error)
                time.sleep(PAUSE_SECONDS)
                continue
            return

    def _train(self) -> None:
        from jobs import promote_model, train_model  # noqa: PLC0415

        version = train_model.train(self.spark, self.lake, self.settings, train_model.Wish(trial=False))
        promote_model.promote(self.settings, version, why="first model: there was no champion")

    def _score(self) -> None:
        from jobs import score_features  # noqa: PLC0415
        from jobs.raise_alerts import AlertStream  # noqa: PLC0415

        self._query(score_features.start(self.spark, self.lake, self.settings))
        self.alerts = AlertStream(self.settings)
        self.alerts.start()

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
        for query in self.queries:
            if not query.isActive:
                error = query.exception()
                raise error or BehaviorError(f"Query {query.name} has stopped.")
        if self.alerts is not None and self.alerts.failure is not None:
            raise self.alerts.failure

    def _query(self, query: StreamingQuery) -> None:
        self.queries.append(query)

    def _labels(self) -> Path | None:
        file = label_file(self.wish)
        return file if self.wish.simulates(self.settings) and file.is_file() else None


def start_source(wish: Wish, settings: Settings) -> EventSource:
    """A replay of a file, or the simulator, but never simulated users into a Kafka of somebody's own."""
    command: list[str] | None = None
    kafka = settings.kafka
    where = ["--env", settings.env, "--bootstrap-servers", kafka.bootstrap_servers, "--topic", kafka.topic]
    if wish.input is not None:
        command = ["jobs.replay_file", str(wish.input.resolve()), *where]
        command += ["--key-file", str((wish.local / "pseudonym.key").resolve())]
        command += ["--rate", str(wish.rate)] if wish.rate else []
        command += ["--shift-to-now"] if wish.shift_to_now else []
    elif wish.simulates(settings):
        command = ["jobs.simulate_events", "--rate", str(wish.pace), "--seed", str(wish.seed), *where]
        command += ["--labels", str(label_file(wish).resolve()), "--head-start", f"{wish.head_start:.2f}"]
    return EventSource(command, wish.local / "logs" / "source.log")


def label_file(wish: Wish) -> Path:
    return wish.local / "labels.csv"


def main(
    env: cli.Environment = "local",
    overrides: cli.Overrides = None,
    duration: Annotated[float | None, typer.Option(help="Seconds; until Ctrl-C when left out.")] = None,
    input_file: Annotated[
        Path | None, typer.Option("--input", help="Replay JSON lines or an access log instead of simulating.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="Events per second [default: 100; a file: as fast as it can].")
    ] = None,
    shift_to_now: Annotated[bool, typer.Option("--shift-to-now", help="Move the file's times up to now.")] = False,
    seed: Annotated[int, typer.Option(help="The same seed simulates the same people.")] = 17,
    local: Annotated[Path, typer.Option(help="Folder that keeps everything of this run.")] = Path(".local"),
) -> None:
    """Run the whole platform. Reads the topic kafka.topic; writes every table and the model registry."""
    if input_file is not None and not input_file.is_file():
        raise UsageError(f"INPUT {input_file}: there is no such file.")
    if rate is not None and rate <= 0:
        raise UsageError(f"RATE is {rate:g}, needed: events per second above 0.")
    wish = Wish(duration, input_file, rate, shift_to_now, seed, local)
    settings = load_settings(env, [*local_overrides(local), *(overrides or ())])
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(soft_wrap=True) if not sys.stdout.isatty() else Console()
    to_files(local / "logs", settings.log)
    began = psutil.Process().create_time() - time.time() + time.monotonic()
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(1) as beside:
        coming = beside.submit(_events_coming, stack, wish, settings, console)
        spark = spark_session(settings, logs=local / "logs")
        stack.callback(spark.stop)
        Lake(spark, settings.storage.root).create()
        settings, source = coming.result()
        page = ServerProcess(
            settings, [*local_overrides(local), *(overrides or ())], local / "logs" / "serving.log", plainly(console)
        )
        stack.callback(page.stop)
        pipeline = Pipeline(wish, settings, spark, console, source, began)
        stack.callback(pipeline.stop)
        try:
            pipeline.run()
        except KeyboardInterrupt:
            console.print("Stopping.")
        except StreamingQueryException as error:
            raise failure_of(error, settings) from None
        pipeline.stop()
        pipeline.summary()


def plainly(console: Console) -> Callable[[str], None]:
    """Prints a sentence as it is."""
    return lambda text: console.print(text, markup=False, highlight=False, soft_wrap=True)


def _events_coming(
    stack: contextlib.ExitStack, wish: Wish, settings: Settings, console: Console
) -> tuple[Settings, EventSource]:
    """Bring up the broker (while Spark starts), and what sends events; the settings name the broker then."""
    if settings.kafka.embedded:
        settings = _with_broker(stack, wish, settings, console)
    return settings, start_source(wish, settings)


def _with_broker(stack: contextlib.ExitStack, wish: Wish, settings: Settings, console: Console) -> Settings:
    broker = EmbeddedBroker(wish.local / "kafka", wish.local / "logs")
    stack.enter_context(broker)
    if broker.port_was_taken:
        console.print(f"Port 9092 is taken: the broker listens at {broker.bootstrap_servers}.")
    broker.create_topic(settings.kafka.topic, settings.kafka.partitions)
    broker.create_topic(settings.kafka.alerts_topic, 1)
    reached = settings.kafka.model_copy(update={"bootstrap_servers": broker.bootstrap_servers})
    return settings.model_copy(update={"kafka": reached})


if __name__ == "__main__":
    cli.run(main)
