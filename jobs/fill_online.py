"""Fill the online view, by which the server finds one person at once, from the tables, and follow them.

Reads tables features, scores, alerts, pattern_members and segments; writes the store that online.store names. Needs no
Spark. ``run_pipeline`` does it by itself.
"""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from online.feed import feed_of
from online.stream import OnlineStream
from settings import cli, load_settings
from telemetry.logs import to_terminal


def main(
    anew: Annotated[bool, typer.Option("--anew", help="Forget what is there, and take all from the tables.")] = False,
    env: cli.Environment = "local",
    overrides: cli.Overrides = None,
    once: cli.Once = False,
) -> None:
    """Fill the online view. Reads features, scores, alerts and patterns; writes the store of online.store."""
    settings = load_settings(env, overrides or ())
    to_terminal()
    stop = cli.stop_signal()
    with closing(feed_of(settings, anew=anew)) as feed:
        rows = feed.poll()
        feed.expire()
    typer.echo(f"{rows:,} rows taken in.")
    if not once:
        stream = OnlineStream(settings)
        stream.start()
        stop.wait()
        stream.stop()


if __name__ == "__main__":
    cli.run(main)
