"""Make a registered version the champion that streams and the API use, or go back to the one before.

A challenger has to pass the gate (training/gate.py): it is compared with the champion on the same recent feature rows,
on simulated days and on what analysts said, within the limits of section ``gate`` in conf/. The first champion has
nothing to be compared with and passes. ``--force --why`` goes past the gate and is recorded.

Reads features, feedback and the model registry; writes the model registry.
"""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table as Printed

from features.definitions import FEATURE_NAMES
from features.errors import ModelError, UsageError
from features.tables import FEATURE_TABLE, FEEDBACK
from jobs.shared.history import recent, reviewed_alerts
from lake.spark_tables import Lake
from registry.configured import registry_of
from registry.mlflow_registry import Registry
from settings import Settings, cli, load_settings
from spark.session import spark_session
from training import trial
from training.dataset import training_rows
from training.gate import Limits, Verdict, review

FIRST = "passed: there was no champion to compare with"
SAME = "passed: it is the champion"


def promote(
    settings: Settings,
    version: str | None,
    why: str,
    *,
    lake: Lake | None = None,
    force: bool = False,
    console: Console | None = None,
) -> str:
    """Promote ``version`` (None: the newest one) through the gate; returns what was promoted.

    ``lake`` is only needed when there is a champion, and made when left out. ``console`` gets the gate's table.

    Raises:
        ModelError: the gate refuses it, nothing can be compared, or it is damaged or was trained for other features.
        UsageError: nothing is registered, or it is forced without a reason.
    """
    if force and not why.strip():
        raise UsageError("--force goes past the gate and needs a reason: --why TEXT. It is kept with the version.")
    registry = registry_of(settings)
    chosen = version or _newest(registry, settings)
    champion = registry.resolve_champion()
    if champion is None or champion == chosen:
        registry.promote(chosen, why, FIRST if champion is None else SAME)
        return chosen
    verdict = _verdict(registry, settings, lake, champion, chosen, forced=why if force else None)
    if console is not None and verdict is not None:
        show(verdict, console)
    if not force and (verdict is None or not verdict.passed):
        said = "The gate had nothing to compare." if verdict is None else verdict.sentence()
        raise ModelError(
            f"{said} Champion {champion} stays. Train again, change section gate in conf/, or promote it all "
            "the same with --force --why TEXT."
        )
    outcome = "passed" if verdict is not None and verdict.passed else "forced"
    registry.promote(chosen, why, f"{outcome}: {verdict.sentence() if verdict else 'nothing could be compared.'}")
    return chosen


def _newest(registry: Registry, settings: Settings) -> str:
    newest = registry.latest()
    if newest is None:
        raise UsageError(f"Nothing is registered as {settings.model.name}. Run python -m jobs.train_model first.")
    return newest


def _verdict(
    registry: Registry, settings: Settings, lake: Lake | None, champion: str, chosen: str, forced: str | None
) -> Verdict | None:
    """The gate's verdict, logged; None when the champion cannot be loaded or no row can be scored, and it is forced."""
    try:
        verdict = gate(
            registry, settings, lake or Lake(spark_session(settings), settings.storage.root), champion, chosen
        )
    except ModelError:
        if forced is None:
            raise
        return None
    registry.log_gate(verdict, settings.gate.model_dump(), forced)
    return verdict


def gate(registry: Registry, settings: Settings, lake: Lake, champion: str, challenger: str) -> Verdict:
    """Compare two versions on the recent features of ``lake``, simulated days and feedback; nothing is written."""
    both = registry.load(champion), registry.load(challenger)
    least, options = settings.model.min_session_events, settings.gate
    rows = training_rows(recent(lake, 24.0 * options.days), least, options.rows, settings.model.seed + 1).rows
    alerts = reviewed_alerts(lake)
    feedback = None if alerts is None else alerts.select("alert_id", "confirmed", *FEATURE_NAMES).toPandas()
    limits = Limits(**options.model_dump(exclude={"rows", "days"}))
    return review(*both, rows, trial.gate_rows(settings.model.trial_users, least), feedback, limits)


def show(verdict: Verdict, console: Console) -> None:
    """Print the gate's table."""
    table = Printed("check", f"champion {verdict.champion}", f"challenger {verdict.challenger}", "found", "needed", "")
    for check in verdict.checks:
        own = ["" if value is None else f"{value:.3f}" for value in (check.champion, check.challenger)]
        table.add_row(check.name, *own, f"{check.value:.3f}", check.needed, check.answer)
    console.print(table)


def main(
    env: cli.Environment = "local",
    overrides: cli.Overrides = None,
    version: Annotated[str | None, typer.Option(help="Version to promote; the newest when left out.")] = None,
    rollback: Annotated[bool, typer.Option("--rollback", help="Go back to the champion before.")] = False,
    challenge: Annotated[
        bool, typer.Option("--challenge", help="Only give it the alias challenger, for scoring in the shadow.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Past the gate; needs --why.")] = False,
    why: Annotated[str, typer.Option(help="Kept with the version.")] = "",
) -> None:
    """Promote a model version to champion. Reads features, feedback and the registry; writes the registry."""
    settings = load_settings(env, overrides or ())
    if rollback and (version or challenge or force):
        raise UsageError("--rollback goes alone: going back needs no version and no gate.")
    if rollback:
        typer.echo(f"Version {registry_of(settings).rollback()} is champion again.")
        return
    if challenge:
        registry = registry_of(settings)
        chosen = version or _newest(registry, settings)
        registry.challenge(chosen)
        typer.echo(f"Version {chosen} is challenger.")
        return
    if registry_of(settings).resolve_champion() is not None:
        Lake(spark_session(settings), settings.storage.root).create(FEATURE_TABLE, FEEDBACK)
    promoted = promote(settings, version, why, force=force, console=Console())
    typer.echo(f"Version {promoted} is champion.")


if __name__ == "__main__":
    cli.run(main)
