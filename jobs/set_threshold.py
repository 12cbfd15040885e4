"""Set from which score on a row is an anomaly: by alerts per day, a percentile or a score; without training anew.

``--preview`` sets nothing: it scores the recent features and prints how many alerts a day each threshold gives.
Streams take a new threshold at their next micro-batch, and each row of scores keeps the one it was scored by.
Reads the model registry, with --preview features and feedback; writes the model registry.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import pandas as pd
import typer
from pyspark.sql import functions as F
from rich.console import Console
from rich.table import Table as Printed

from alerts.feedback import verdicts
from features.errors import ConfigurationError, UsageError
from features.tables import FEATURE_TABLE, FEEDBACK
from jobs.shared.history import recent
from lake.spark_tables import Lake
from registry.configured import registry_of
from registry.mlflow_registry import Registry
from scoring.arrays import Rules
from scoring.champion import LoadedModel
from scoring.frames import score
from scoring.reference import Reference
from scoring.thresholds import from_alerts_per_day, from_percentile, preview_of_history
from settings import Settings, cli, load_settings
from spark.session import spark_session

NOTHING_IS_FLAGGED = 2.0
"""A threshold above every score: previews need no reasons."""


def threshold_of(
    reference: Reference, alerts_per_day: float | None, percentile: float | None, fixed: float | None
) -> float | None:
    """The threshold that one of the three gives, None when none is given.

    Raises:
        UsageError: more than one is given, or a value makes no sense.
    """
    given = [one for one in (alerts_per_day, percentile, fixed) if one is not None]
    if len(given) > 1:
        raise UsageError("One of --alerts-per-day, --percentile and --score is needed; more than one was given.")
    try:
        if alerts_per_day is not None:
            return from_alerts_per_day(alerts_per_day, reference.alerts)
        if percentile is not None:
            return from_percentile(percentile, reference.row_scores)
    except ConfigurationError as error:
        raise UsageError(str(error)) from None
    if fixed is not None and not 0.0 < fixed < 1.0:
        raise UsageError(f"--score {fixed:g}: needed is a score between 0 and 1.")
    return fixed


def history(lake: Lake, settings: Settings, model: LoadedModel, days: float) -> tuple[pd.DataFrame, float]:
    """User sessions of the last ``days`` as a model scores them: day, score, verdict; and the days there really are."""
    rules = Rules(settings.model.min_session_events, settings.score.max_reasons)
    rows = recent(lake, 24.0 * days).drop("batch_time", "batch_id")
    scored = score(rows, replace(model, threshold=NOTHING_IS_FLAGGED), rules).where("anomaly_score IS NOT NULL")
    sessions = scored.groupBy("user_id", "session_start").agg(
        F.max("anomaly_score").alias("score"),
        F.to_date(F.min("window_start")).alias("day"),
        F.unix_seconds(F.min("window_start")).alias("first"),
        F.unix_seconds(F.max("window_start")).alias("last"),
    )
    feedback = verdicts(lake)
    if feedback is not None:
        of_session = feedback.groupBy("user_id", "session_start").agg(F.max_by("verdict", "at").alias("verdict"))
        sessions = sessions.join(of_session, ["user_id", "session_start"], how="left")
    frame = sessions.drop("user_id", "session_start").toPandas()
    length = float(frame["last"].max() - frame["first"].min() + 60) / 86400.0 if len(frame) else 0.0
    return frame, length


def show(table: pd.DataFrame, console: Console) -> None:
    """Print a preview."""
    printed = Printed("threshold", "alerts per day", "busiest day", "of sessions", "true kept", "false kept", "")
    for row in table.to_dict("records"):
        printed.add_row(
            f"{row['threshold']:.4f}", f"{row['alerts_per_day']:,.1f}", f"{row['busiest_day']:,}",
            f"{row['share']:.2%}", f"{row['true_kept']:,}", f"{row['false_kept']:,}", row["note"],
        )  # fmt: skip
    console.print(printed)


def _chosen(registry: Registry, version: str | None, settings: Settings) -> str:
    chosen = version or registry.resolve_champion()
    if chosen is None:
        raise UsageError(
            f"{settings.model.name} has no champion: give --version N, or promote one: python -m jobs.promote_model."
        )
    return chosen


def main(
    env: cli.Environment = "local",
    overrides: cli.Overrides = None,
    version: Annotated[str | None, typer.Option(help="Version of the model; the champion when left out.")] = None,
    alerts_per_day: Annotated[float | None, typer.Option(help="As many as people can look at.")] = None,
    percentile: Annotated[float | None, typer.Option(help="Share of training rows below it in percent: 99.5.")] = None,
    fixed: Annotated[float | None, typer.Option("--score", help="This score, 0 to 1.")] = None,
    preview: Annotated[bool, typer.Option("--preview", help="Set nothing; print alerts per day by threshold.")] = False,
    days: Annotated[int, typer.Option(min=1, help="Days of history for --preview.")] = 7,
) -> None:
    """Set a model's threshold. Reads and writes the registry; --preview reads features and feedback, sets nothing."""
    settings = load_settings(env, overrides or ())
    registry = registry_of(settings)
    chosen = _chosen(registry, version, settings)
    model = registry.load(chosen)
    current = registry.threshold(chosen)
    current = model.reference.threshold if current is None else current
    threshold = threshold_of(model.reference, alerts_per_day, percentile, fixed)
    if preview:
        lake = Lake(spark_session(settings), settings.storage.root)
        lake.create(FEATURE_TABLE, FEEDBACK)
        sessions, length = history(lake, settings, model, days)
        if sessions.empty:
            typer.echo("There is no session that can be scored yet: nothing to preview.")
            return
        show(preview_of_history(sessions, length, current, threshold), Console())
        typer.echo(f"Version {chosen} on {len(sessions):,} user sessions of {length:.2f} days. Nothing was changed.")
        return
    if threshold is None:
        raise UsageError(
            "What shall it be? Give --alerts-per-day, --percentile or --score, or --preview to look first."
        )
    registry.set_threshold(chosen, threshold)
    alerts = model.reference.alerts
    typer.echo(
        f"Threshold of version {chosen}: {current:.4f} before, {threshold:.4f} now; by its training data about "
        f"{alerts.above(threshold) * alerts.per_day:,.1f} {alerts.unit} a day reach it. "
        "Streams take it at the next batch."
    )


if __name__ == "__main__":
    cli.run(main)
