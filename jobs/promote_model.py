"""Make a registered version the champion that streams and the API use, or go back to the one before.

Reads and writes the model registry.
"""

from __future__ import annotations

from typing import Annotated

import typer

from features.errors import UsageError
from jobs.runtime import cli
from jobs.runtime.models import registry_of
from jobs.runtime.settings import Settings, load_settings


def promote(settings: Settings, version: str | None, why: str) -> str:
    """Promote ``version`` (None: the newest one); returns what was promoted.

    Raises:
        ModelError: nothing is registered, or the version is damaged or was trained for other features.
    """
    registry = registry_of(settings)
    chosen = version or registry.latest()
    if chosen is None:
        raise UsageError(f"Nothing is registered as {settings.model.name}. Run python -m jobs.train_model first.")
    registry.promote(chosen, why=why)
    return chosen


def main(
    env: cli.Environment = "local",
    overrides: cli.Overrides = None,
    version: Annotated[str | None, typer.Option(help="Version to promote; the newest when left out.")] = None,
    rollback: Annotated[bool, typer.Option("--rollback", help="Go back to the champion before.")] = False,
    why: Annotated[str, typer.Option(help="Kept with the version.")] = "",
) -> None:
    """Promote a model version to champion. Reads and writes the model registry."""
    settings = load_settings(env, overrides or ())
    if rollback and version:
        raise UsageError("Either --rollback or --version: going back needs no version.")
    if rollback:
        typer.echo(f"Version {registry_of(settings).rollback()} is champion again.")
    else:
        typer.echo(f"Version {promote(settings, version, why)} is champion.")


if __name__ == "__main__":
    cli.run(main)
