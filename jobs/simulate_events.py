"""Send simulated behaviour to Kafka: live at a rate, or a history as fast as the broker takes it.

Reads nothing; writes events to the topic and, with --labels, who of the simulated users is strange to a CSV file
(user_id, persona, is_anomalous, since). Labels are never part of an event.
"""

from __future__ import annotations

import csv
import json
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from features.errors import UsageError
from kafka.pacer import Pacer
from kafka.producer import EventProducer, producer_from
from settings import cli, load_settings
from simulation import SITES, Event, Label, Scenario, labels, simulate

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def send(
    events: Iterable[Event],
    producer: EventProducer,
    *,
    stop: threading.Event | None = None,
    clock: Callable[[], float] = time.time,
) -> int:
    """Send each event when its time has come, those of the past at once; the number sent when all are acknowledged.

    A live event's ``sent_at`` is the moment it is sent, a past one's the moment the scenario says.
    """
    stop, sent, pacer = stop or threading.Event(), 0, Pacer(None, stop)
    origin = clock()
    pacer.until(0.0)
    for event in events:
        due = datetime.fromisoformat(event["timestamp"]).timestamp() - origin
        if due > 0:
            if not pacer.until(due):
                break
            event["sent_at"] = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        elif stop.is_set():
            break
        producer.send_raw(_encode(event).encode(), event["user_id"].encode())
        sent += 1
    producer.flush()
    return sent


def write_labels(rows: Iterable[Label], path: Path) -> None:
    """Write user_id, persona, is_anomalous (true or false) and since (ISO-8601 or empty) as CSV, all or nothing."""
    draft = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(["user_id", "persona", "is_anomalous", "since"])
            for row in rows:
                since = row.since.isoformat(timespec="milliseconds").replace("+00:00", "Z") if row.since else ""
                table.writerow([row.user_id, row.persona, str(row.is_anomalous).lower(), since])
        draft.replace(path)
    except OSError as error:
        raise UsageError(f"The labels cannot be written to {path}: {(error.strerror or str(error)).lower()}.") from None


def planned(
    now: datetime,
    rate: float,
    *,
    history: float | None,
    duration: float | None,
    users: int | None,
    seed: int,
    head_start: float = 0.0,
    site: str = "shop",
) -> Scenario:
    """The scenario of a run: ``duration`` seconds from now (None: endless), or the ``history`` hours before now.

    A live scenario may have begun ``head_start`` minutes ago: what has happened since is sent at once.
    """
    if history is not None and duration is not None:
        raise UsageError("Either --history or --duration: a history ends now.")
    if history is not None and history <= 0:
        raise UsageError(f"--history needs hours above 0; {history:g} was given.")
    if history is not None:
        span = timedelta(hours=history)
        return Scenario(now - span, rate, span, seed, users, daily_rhythm=history >= 12, site=site)
    if head_start < 0:
        raise UsageError(f"--head-start needs minutes, 0 or more; {head_start:g} was given.")
    before = timedelta(minutes=head_start)
    lasting = None if duration is None else before + timedelta(seconds=duration)
    return Scenario(now - before, rate, lasting, seed, users, site=site)


def main(
    env: cli.Environment = "local",
    overrides: cli.Overrides = None,
    rate: Annotated[float, typer.Option(envvar="RATE", help="Events per second, of all users together.")] = 100.0,
    duration: Annotated[float | None, typer.Option(help="Seconds; on and on if left out.")] = None,
    history: Annotated[
        float | None, typer.Option(metavar="HOURS", help="Send the last HOURS at once instead of living now.")
    ] = None,
    head_start: Annotated[
        float, typer.Option(metavar="MINUTES", help="Live from now on, but begun so long ago.")
    ] = 0.0,
    users: Annotated[int | None, typer.Option(help="Population; what the rate takes if left out.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same people.")] = 17,
    site: Annotated[str, typer.Option(help=f"Where they act: {', '.join(SITES)}.")] = "shop",
    label_file: Annotated[Path | None, typer.Option("--labels", help="CSV file for who is strange.")] = None,
    bootstrap_servers: Annotated[str | None, typer.Option(help="Broker, instead of kafka.bootstrap_servers.")] = None,
    topic: Annotated[str | None, typer.Option(help="Topic, instead of kafka.topic.")] = None,
    with_owner: cli.WithOwner = False,
) -> None:
    """Send simulated behaviour to Kafka. Reads nothing; writes events to the topic kafka.topic and labels to a file."""
    settings = load_settings(env, overrides or ())
    stop = cli.stop_signal(with_owner=with_owner)
    with producer_from(settings.kafka, bootstrap_servers=bootstrap_servers, topic=topic) as producer:
        producer.check()
        scenario = planned(
            datetime.now(UTC),
            rate,
            history=history,
            duration=duration,
            users=users,
            seed=seed,
            head_start=head_start,
            site=site,
        )
        if label_file is not None:
            write_labels(labels(scenario), label_file)
        sent = send(simulate(scenario), producer, stop=stop)
        typer.echo(f"{sent} events sent to {producer.topic}.")


if __name__ == "__main__":
    cli.run(main)
