"""Send a recorded file to Kafka, one record for every line.

Reads JSON lines in the event contract or an access log in combined format, plain or gzipped; writes to the topic.
Lines that cannot be understood are sent as they are, blank ones as empty records, so that ``ingest_events`` rejects
and accounts for them: events + rejected = lines.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kafka.producer import producer_from
from replay.file_lines import MAX_LINE
from replay.file_replay import replay
from replay.formats.registry import AUTO, NAMES, known_format
from replay.pseudonyms import KEY_FILE, KEY_VARIABLE, pseudonym_key
from settings import cli, load_settings


def main(
    file: Annotated[Path, typer.Argument(help="JSON lines or an access log, plain or gzipped.")],
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
        str, typer.Option("--format", help=f"What the file holds: {', '.join(NAMES)}.", callback=known_format)
    ] = AUTO,
    key_file: Annotated[
        Path, typer.Option(help=f"Key for visitors' pseudonyms, made if missing; {KEY_VARIABLE} goes first.")
    ] = KEY_FILE,
    bootstrap_servers: Annotated[str | None, typer.Option(help="Broker, instead of kafka.bootstrap_servers.")] = None,
    topic: Annotated[str | None, typer.Option(help="Topic, instead of kafka.topic.")] = None,
    with_owner: cli.WithOwner = False,
) -> None:
    """Send a recorded file to Kafka, one record for every line. Reads FILE; writes to the topic kafka.topic."""
    settings = load_settings(env, overrides or ())
    stop = cli.stop_signal(with_owner=with_owner)
    with producer_from(settings.kafka, bootstrap_servers=bootstrap_servers, topic=topic) as producer:
        producer.check()
        done = replay(
            file,
            producer,
            rate=rate,
            shift_to_now=shift_to_now,
            event_ids=event_ids,
            format_name=format_name,
            key=lambda: pseudonym_key(key_file),
            stop=stop,
        )
        raw = f", {done.raw} of them not understood and sent as they are" if done.raw else ""
        cut = f", {done.cut} cut to {MAX_LINE} bytes" if done.cut else ""
        typer.echo(f"{done.lines} lines of {file} sent to {producer.topic}{raw}{cut}.")


if __name__ == "__main__":
    cli.run(main)
