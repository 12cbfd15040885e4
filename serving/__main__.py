"""``python -m serving``: live page, prediction API and collector, on the loopback address unless told otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from features.errors import EnvironmentProblem, UsageError
from serving.app import create_app
from serving.server import serving
from settings import cli, load_settings, local_overrides
from telemetry.logs import serving_to_stderr


def main(
    env: cli.Environment = "local",
    overrides: cli.Overrides = None,
    bootstrap_servers: Annotated[str | None, typer.Option(help="Broker, instead of kafka.bootstrap_servers.")] = None,
    topic: Annotated[str | None, typer.Option(help="Topic, instead of kafka.topic.")] = None,
    any_port: Annotated[bool, typer.Option("--any-port", help="Where serving.port is taken, use a free one.")] = False,
    local: Annotated[
        Path | None, typer.Option(help="Folder of a run on this machine, whose tables and models are shown.")
    ] = None,
    with_owner: cli.WithOwner = False,
) -> None:
    """Serve the live page, the prediction API and the collector. Reads tables and the model registry; writes table
    feedback, and events to the topic kafka.topic. Ctrl-C ends it.
    """
    settings = load_settings(env, [*of_run(local), *(overrides or ())])
    serving_to_stderr(settings.log)
    stop = cli.stop_signal(with_owner=with_owner)
    app = create_app(settings, bootstrap_servers=bootstrap_servers, topic=topic)
    with serving(app, settings.serving, any_port=any_port) as server:
        typer.echo(
            f"POST {server.url}/events puts events on {topic or settings.kafka.topic}; "
            f"live page: {server.url}/ API: {server.url}/docs Ctrl-C ends it."
        )
        while not stop.wait(0.5):
            if not server.alive:
                raise EnvironmentProblem("The server has ended by itself: its log says why.")


def of_run(local: Path | None) -> list[str]:
    """Settings that lead to what a run keeps in its folder.

    Raises:
        UsageError: there was none.
    """
    if local is None:
        return []
    if not (local / "lake").is_dir():
        raise UsageError(
            f"--local {local}: found no lake/ in it; needed: the folder of a run. make run LOCAL={local} makes one."
        )
    return local_overrides(local)


if __name__ == "__main__":
    cli.run(main)
