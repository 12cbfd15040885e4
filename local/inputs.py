"""What a run reads: the topic of a broker of its own or of somebody else's, and who sends events to it."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from rich.console import Console

from local.broker import EmbeddedBroker
from local.event_source import EventSource
from local.run_options import RunOptions
from replay.file_lines import STDIN
from settings import Settings


def bring_up_inputs(
    stack: contextlib.ExitStack, options: RunOptions, settings: Settings, console: Console
) -> tuple[Settings, EventSource]:
    """Bring up the broker (while Spark starts), and what sends events; the settings name the broker then."""
    if settings.kafka.embedded:
        settings = _with_broker(stack, options, settings, console)
    return settings, start_source(options, settings)


def _with_broker(stack: contextlib.ExitStack, options: RunOptions, settings: Settings, console: Console) -> Settings:
    broker = EmbeddedBroker(options.local / "kafka", options.local / "logs")
    stack.enter_context(broker)
    if broker.uses_other_port:
        console.print(f"Port 9092 is taken: the broker listens at {broker.bootstrap_servers}.")
    broker.create_topic(settings.kafka.topic, settings.kafka.partitions)
    broker.create_topic(settings.kafka.alerts_topic, 1)
    reached = settings.kafka.model_copy(update={"bootstrap_servers": broker.bootstrap_servers})
    return settings.model_copy(update={"kafka": reached})


def start_source(options: RunOptions, settings: Settings) -> EventSource:
    """A replay of a file, or the simulator, but never simulated users into a Kafka of somebody's own."""
    command: list[str] | None = None
    kafka = settings.kafka
    where = ["--env", settings.env, "--bootstrap-servers", kafka.bootstrap_servers, "--topic", kafka.topic]
    passed: list[int] = []
    if options.inputs:
        command = ["jobs.replay_file", *(_named(path, passed) for path in options.inputs), *where]
        command += ["--key-file", str((options.local / "pseudonym.key").resolve())]
        command += ["--format", options.format_name]
        command += ["--rate", str(options.rate)] if options.rate else []
        command += ["--shift-to-now"] if options.shift_to_now else []
        command += ["--follow"] if options.follow else []
        for name, value in vars(options.reading).items():
            command += [f"--{name.replace('_', '-')}", str(value)] if value is not None else []
    elif options.simulates(settings):
        command = ["jobs.simulate_events", "--rate", str(options.pace), "--seed", str(options.seed), *where]
        command += ["--labels", str(options.label_file.resolve()), "--head-start", f"{options.head_start:.2f}"]
    return EventSource(command, options.local / "logs" / "source.log", passed)


def _named(path: Path, passed: list[int]) -> str:
    """A file's name for another process; what comes in by our standard input is handed over."""
    if path != STDIN:
        return str(path.resolve())
    passed.append(os.dup(sys.stdin.fileno()))
    return f"/dev/fd/{passed[-1]}"
