"""The main job: the whole way of an event, from Kafka to scores with reasons and alerts, in one streaming query.

With ``--env local``, or with a folder for ``--local``, it brings all that it needs on one machine: starts a broker
(unless kafka.embedded is off), sends simulated behaviour or replays a file, trains and promotes a first model when
there is no champion, and shows it all as it happens: here, and on the live page of the server that it starts
(python -m serving). Elsewhere it is the query and its alerts alone, on what conf/ names.
Reads the topic; writes every table and, the first time on one machine, the model registry.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import psutil
import typer
from pyspark.errors import StreamingQueryException
from pyspark.sql import SparkSession
from rich.console import Console

from alerts.sinks.registry import sinks_of
from features.errors import UsageError
from jobs.shared.starter import finisher
from lake.spark_tables import Lake
from local.inputs import bring_up_inputs
from local.pipeline import Parts, Pipeline
from local.run_options import RunOptions
from local.server_process import ServerProcess
from online.stream import stream_of
from pipeline import one_pass
from pipeline.changing import to_one_pass
from replay.file_replay import notes_on
from replay.formats.base import ReadingOptions
from replay.formats.registry import AUTO, NAMES, known_format
from replay.pseudonyms import pseudonym_key
from settings import Settings, cli, load_settings, local_overrides
from spark.session import spark_session
from streams import claims, queries
from streams.flow import FLOW, INGEST
from streams.queries import failure_of
from telemetry.logs import to_files, to_stderr

if TYPE_CHECKING:
    from alerts.stream import AlertStream


def main(
    env: cli.Environment = "local",
    overrides: cli.Overrides = None,
    duration: Annotated[float | None, typer.Option(help="Seconds; until Ctrl-C when left out.")] = None,
    inputs: Annotated[
        list[Path] | None,
        typer.Option(
            "--input",
            help="Replay events or an access log instead of simulating: a file, a folder, - for what is piped.",
        ),
    ] = None,
    format_name: Annotated[
        str, typer.Option("--format", help=f"What the files hold: {', '.join(NAMES)}.", callback=known_format)
    ] = AUTO,
    log_format: cli.LogFormat = None,
    client_field: cli.ClientField = None,
    trusted_hops: cli.TrustedHops = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Wait for further lines of the one file, through its rotations.")
    ] = False,
    rate: Annotated[
        float | None, typer.Option(help="Events per second [default: 100; a file: as fast as it can].")
    ] = None,
    shift_to_now: Annotated[bool, typer.Option("--shift-to-now", help="Move the file's times up to now.")] = False,
    seed: Annotated[int, typer.Option(help="The same seed simulates the same people.")] = 17,
    local: Annotated[
        Path | None,
        typer.Option(help="Folder that keeps everything of a run on this machine [default: with --env local: .local]."),
    ] = None,
    once: cli.Once = False,
) -> None:
    """Run the whole platform. Reads the topic kafka.topic; writes every table and the model registry."""
    if local is None and env == "local" and not once:
        local = Path(".local")
    if local is None:
        refuse(duration=duration, input=inputs, rate=rate, shift_to_now=shift_to_now or None, follow=follow or None)
        serve(load_settings(env, overrides or ()), once=once)
        return
    if once:
        raise UsageError(f"--once takes what is there on existing tables, and --local {local} runs a whole platform.")
    if rate is not None and rate <= 0:
        raise UsageError(f"RATE is {rate:g}, needed: events per second above 0.")
    reading = ReadingOptions(log_format, client_field, trusted_hops)
    options = RunOptions(duration, tuple(inputs or ()), rate, shift_to_now, seed, local, format_name, reading, follow)
    settings = load_settings(env, [*local_overrides(local), *(overrides or ())])
    sinks_of(settings)  # what is wrong with them is said before a model is trained
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(soft_wrap=True) if not sys.stdout.isatty() else Console()
    for note in notes_of(options):
        plainly(console)(f"Warning: {note}")
    to_files(local / "logs", settings.log)
    began = psutil.Process().create_time() - time.time() + time.monotonic()
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(1) as beside:
        coming = beside.submit(bring_up_inputs, stack, options, settings, console)
        spark = spark_session(settings, logs=local / "logs")
        stack.callback(spark.stop)
        lake = Lake(spark, settings.storage.root)
        lake.create()
        settings, source = coming.result()
        page = ServerProcess(
            settings, [*local_overrides(local), *(overrides or ())], local / "logs" / "serving.log", plainly(console)
        )
        stack.callback(page.stop)
        pipeline = Pipeline(options, settings, lake, console, source, parts_of(spark, lake, settings), began)
        stack.callback(pipeline.stop)
        interrupted = False
        try:
            pipeline.run()
        except KeyboardInterrupt:
            interrupted = True
            console.print("Stopping.")
        except StreamingQueryException as error:
            raise failure_of(error, settings) from None
        pipeline.stop()
        pipeline.summary()
        if options.page_stays(is_watched=sys.stdout.isatty()) and not interrupted:
            spark.stop()  # the page needs none of it
            keep_page(page, local, console)


def keep_page(page: ServerProcess, local: Path, console: Console) -> None:
    """Leave the page until Ctrl-C; a server that is not there has said why."""
    if page.address is None:
        return
    plainly(console)(
        f"Everything is scored. The page stays at {page.address} until Ctrl-C; make page LOCAL={local} brings it back."
    )
    signal.signal(signal.SIGINT, signal.default_int_handler)  # Spark's own asks a Spark that is stopped
    with contextlib.suppress(KeyboardInterrupt):
        page.wait()


def notes_of(options: RunOptions) -> list[str]:
    """What a person should know of how the inputs are read, before anything is started.

    Raises:
        UsageError: they cannot be read.
    """
    if not options.inputs:
        return []
    return notes_on(
        options.inputs,
        format_name=options.format_name,
        options=options.reading,
        follow=options.follow,
        twice=options.shift_to_now,
        key=lambda: pseudonym_key(options.local / "pseudonym.key"),
    )


def refuse(**options: object) -> None:
    """Refuse what only a run on this machine has.

    Raises:
        UsageError: with the first option that is set.
    """
    for name, value in options.items():
        if value is not None:
            raise UsageError(
                f"--{name.replace('_', '-')} {value}: only a whole platform on one machine has it; give --local DIR."
            )


def serve(settings: Settings, *, once: bool) -> None:
    """The query and its alerts, on what the settings name."""
    from pipeline import service  # noqa: PLC0415 - alerts are imported late on one machine

    to_stderr(settings.log)
    if settings.alerts.by_pipeline:
        sinks_of(settings)  # what is wrong with them is said before anything starts
    spark = spark_session(settings)
    lake = Lake(spark, settings.storage.root)
    lake.create()
    service.run(spark, lake, settings, once=once)


def plainly(console: Console) -> Callable[[str], None]:
    """Prints a sentence as it is."""
    return lambda text: console.print(text, markup=False, highlight=False, soft_wrap=True)


def parts_of(spark: SparkSession, lake: Lake, settings: Settings) -> Parts:
    """The jobs of a run, as it calls them.

    MLflow and scikit-learn take eight seconds to import: they do so while the first events come in.
    """

    def has_champion() -> bool:
        from registry.configured import registry_of  # noqa: PLC0415

        return registry_of(settings).resolve_champion() is not None

    def train() -> None:
        from jobs import promote_model, train_model  # noqa: PLC0415

        version = train_model.train(spark, lake, settings, train_model.TrainingOptions(trial=False))
        promote_model.promote(settings, version, why="first model: there was no champion")

    def alerts() -> AlertStream:
        from alerts.stream import AlertStream  # noqa: PLC0415

        return AlertStream(settings)

    def start() -> one_pass.Run:
        # Else a job could begin with the tables after the three queries have come to rest, and before this one runs.
        folders = [] if settings.stream.fenced else [queries.checkpoint(settings, stream.query) for stream in FLOW]
        with claims.kept(folders):
            to_one_pass(spark, lake, settings, finisher(spark, lake, settings))
            run = one_pass.start(spark, lake, settings)
        for folder in set(folders) - {queries.checkpoint(settings, INGEST.query)}:
            claims.let_go(folder)
        return run

    return Parts(start, has_champion, train, alerts, stream_of(settings))


if __name__ == "__main__":
    cli.run(main)
