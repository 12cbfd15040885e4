"""Send a recorded file to Kafka, one record for every line.

Reads JSON lines in the event contract or an access log in combined format, plain or gzipped; writes to the topic.
Lines that cannot be understood are sent as they are, blank ones as empty records, so that ``ingest_events`` rejects
and accounts for them: events + rejected = lines.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from features.errors import UsageError
from jobs.runtime import cli
from jobs.runtime.access_log import KEY_VARIABLE, pseudonym_key
from jobs.runtime.pacer import Pacer
from jobs.runtime.producer import EventProducer, producer_from
from jobs.runtime.recordings import LONGEST_LINE, Format, detect, lines, reader, survey
from jobs.runtime.settings import load_settings

KEY_FILE = Path(".local/pseudonym.key")


@dataclass(frozen=True)
class Replayed:
    """``lines`` records were sent; of these ``raw`` were not understood, and ``cut`` were too long for a record."""

    lines: int
    raw: int
    cut: int


def replay(
    path: Path,
    producer: EventProducer,
    *,
    rate: float | None = None,
    shift_to_now: bool = False,
    event_ids: bool = False,
    kind: Format = Format.AUTO,
    key: Callable[[], bytes] = lambda: pseudonym_key(KEY_FILE),
    stop: threading.Event | None = None,
) -> Replayed:
    """Send each line of a file as one record, at ``rate`` lines per second or as fast as the broker takes them.

    ``shift_to_now`` moves all times by one span, see :func:`jobs.runtime.recordings.survey`. ``event_ids`` gives
    events that have none an id of content and line number: sent a second time within the window of de-duplication
    they are known as repeated. ``stop`` ends early. Returns when every record is acknowledged.

    Raises:
        UsageError: the file cannot be read or is neither format.
        EnvironmentProblem: the broker is away or does not keep up.
    """
    if rate is not None and rate <= 0:
        raise UsageError(f"The rate must be lines per second above 0; {rate:g} was given.")
    reading = reader(detect(path) if kind is Format.AUTO else kind, key)
    known = survey(path, reading, datetime.now(UTC), rate) if shift_to_now or event_ids else None
    shift = known.shift if known and shift_to_now else None
    pacer = Pacer(rate, stop)
    sent = raw = cut = 0
    for number, line in enumerate(lines(path), 1):
        if not pacer.take():
            break
        if line.length > LONGEST_LINE:
            producer.send_raw(line.text, None, headers=[("cut_from_bytes", str(line.length).encode())])
            raw, cut = raw + 1, cut + 1
        else:
            record = reading.record(line.text, shift, known.event_id(number) if known and event_ids else None)
            producer.send_raw(record.value, record.key)
            raw += not record.is_event
        sent += 1
    producer.flush()
    return Replayed(sent, raw, cut)


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
    kind: Annotated[Format, typer.Option("--format", help="What the file holds.")] = Format.AUTO,
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
            kind=kind,
            key=lambda: pseudonym_key(key_file),
            stop=stop,
        )
        raw = f", {done.raw} of them not understood and sent as they are" if done.raw else ""
        cut = f", {done.cut} cut to {LONGEST_LINE} bytes" if done.cut else ""
        typer.echo(f"{done.lines} lines of {file} sent to {producer.topic}{raw}{cut}.")


if __name__ == "__main__":
    cli.run(main)
