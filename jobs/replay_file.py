"""Send recorded files, or a log that a server writes, to Kafka, one record for every line.

Reads events in the contract (JSON lines, or an array) and access logs of web servers, proxies and balancers, plain or
packed; writes to the topic. Of a line of a log that is no request a record without an address is sent, and other lines
that cannot be understood are sent as they are, blank ones as empty records, so that ``ingest_events`` rejects and
accounts for them: events + rejected = lines.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO, cast

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from features.sense import doubts
from kafka.producer import producer_from
from replay.file_lines import BUFFER, MAX_LINE, Opened
from replay.file_replay import Replayed, replay
from replay.formats.base import ReadingOptions
from replay.formats.registry import AUTO, NAMES, known_format
from replay.pseudonyms import KEY_FILE, KEY_VARIABLE, pseudonym_key
from settings import cli, load_settings

TOLD_SECONDS = 5.0


def main(
    files: Annotated[
        list[Path], typer.Argument(help="Events or access logs, plain or packed; folders; - for standard input.")
    ],
    env: cli.Environment = "local",
    overrides: cli.Overrides = None,
    rate: Annotated[float | None, typer.Option(help="Lines per second; as fast as possible if left out.")] = None,
    shift_to_now: Annotated[
        bool, typer.Option("--shift-to-now", help="Move event times up to now, none ahead of the clock.")
    ] = False,
    event_ids: Annotated[
        bool,
        typer.Option(
            "--event-ids", help="Give events that have none an id made of content and line: a repeated replay is known."
        ),
    ] = False,
    format_name: Annotated[
        str, typer.Option("--format", help=f"What the files hold: {', '.join(NAMES)}.", callback=known_format)
    ] = AUTO,
    log_format: cli.LogFormat = None,
    client_field: cli.ClientField = None,
    trusted_hops: cli.TrustedHops = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Wait for further lines of one file, through its rotations, until stopped.")
    ] = False,
    key_file: Annotated[
        Path, typer.Option(help=f"Key for visitors' pseudonyms, made if missing; {KEY_VARIABLE} goes first.")
    ] = KEY_FILE,
    bootstrap_servers: Annotated[str | None, typer.Option(help="Broker, instead of kafka.bootstrap_servers.")] = None,
    topic: Annotated[str | None, typer.Option(help="Topic, instead of kafka.topic.")] = None,
    with_owner: cli.WithOwner = False,
) -> None:
    """Send recorded files to Kafka, one record for every line. Reads FILES; writes to the topic kafka.topic."""
    settings = load_settings(env, overrides or ())
    stop = cli.stop_signal(with_owner=with_owner)
    with producer_from(settings.kafka, bootstrap_servers=bootstrap_servers, topic=topic) as producer:
        producer.check()
        with progress() as (opened, told):
            done = replay(
                files,
                producer,
                rate=rate,
                shift_to_now=shift_to_now,
                event_ids=event_ids,
                format_name=format_name,
                options=ReadingOptions(log_format, client_field, trusted_hops),
                follow=follow,
                key=lambda: pseudonym_key(key_file),
                stop=stop,
                opened=opened,
                told=told,
            )
        report(done, ", ".join(map(str, files)), producer.topic)


def report(done: Replayed, files: str, topic: str) -> None:
    """Say what was sent, and what in it can hardly be right."""
    raw = f", {done.raw:,} of them not understood" if done.raw else ""
    cut = f", {done.cut:,} cut to {MAX_LINE} bytes" if done.cut else ""
    typer.echo(f"{done.lines} lines of {files} sent to {topic}{raw}{cut}.")
    if done.raw:
        typer.echo(f"The first that was not understood: {done.example}")
    for sentence in (*done.notes, *doubts(done.tally)):
        typer.echo(f"Warning: {sentence}")


@contextmanager
def progress() -> Iterator[tuple[Opened, Callable[[int], None]]]:
    """How far a replay is: a bar with rate and time left in a terminal, else a line every few seconds."""
    began, lines, last = time.monotonic(), 0, time.monotonic()
    is_shown = sys.stderr.isatty()

    def told(sent: int) -> None:
        nonlocal lines, last
        lines = sent
        if not is_shown and (now := time.monotonic()) - last >= TOLD_SECONDS:
            last = now
            typer.echo(f"{lines:,} lines sent, {lines / (now - began):,.0f}/s")

    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    with Progress(
        *columns, TimeRemainingColumn(), console=Console(stderr=True), disable=not is_shown, transient=True
    ) as shown:

        def opened(file: BinaryIO, path: Path) -> BinaryIO:
            if not is_shown:
                return file
            size = path.stat().st_size
            return io.BufferedReader(cast("io.RawIOBase", shown.wrap_file(file, size, description=path.name)), BUFFER)

        yield opened, told


if __name__ == "__main__":
    cli.run(main)
