"""Compare recent behaviour with what the champion learned, and say whether a retrain is due.

Reads features, scores and the model registry; writes drift_reports, and with --retrain a new version to the registry.
Exit code 0 whatever is found: the last line says "retrain: yes" or "retrain: no", and why.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import pandas as pd
import typer
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from rich.console import Console
from rich.table import Table as Printed

from features.errors import ModelError
from features.revisions import latest
from features.tables import DRIFT_REPORTS, FEATURE_TABLE, FEEDBACK, SCORES
from jobs import train_model
from jobs.shared.history import recent
from lake.spark_tables import Lake
from registry.configured import registry_of
from scoring.champion import ChampionFollower, LoadedModel
from settings import Settings, cli, load_settings
from spark.session import spark_session
from training import drift
from training.dataset import TrainingSample, training_rows
from training.drift import FLAG_RATE, Limits, Report

DAY, NOTHING = "(day)", "(nothing)"
"""Subjects of drift_reports besides those of training.drift."""

MAX_ROWS = 100_000
MAX_DAYS = 14


def check(spark: SparkSession, lake: Lake, settings: Settings) -> tuple[LoadedModel, Report, pd.DataFrame]:
    """Compare, and write down what was found.

    Returns the champion, the report, and the flag rate over time: day, rows, users and share.

    Raises:
        ModelError: there is no champion, with what to run.
    """
    champion = ChampionFollower(registry_of(settings)).follow().champion
    sample = _sample(lake, settings)
    rows = pd.DataFrame(columns=list(champion.model.feature_names)) if sample is None else sample.rows
    report = drift.check(champion, rows, Limits(**settings.drift.model_dump(exclude={"hours"})))
    days = flag_rates(lake)
    _record(spark, lake, champion, report, sample, days)
    return champion, report, days


def _sample(lake: Lake, settings: Settings) -> TrainingSample | None:
    """Recent rows, chosen as training chooses them; None when none can be scored."""
    rows = recent(lake, settings.drift.hours)
    try:
        return training_rows(rows, settings.model.min_session_events, MAX_ROWS, settings.model.seed)
    except ModelError:
        return None


def flag_rates(lake: Lake, days: int = MAX_DAYS) -> pd.DataFrame:
    """The share of scored rows that was flagged, by day of event time: day (UTC), rows, users, share; newest last."""
    scores = lake.read(SCORES)
    newest = scores.agg(F.max("window_start")).collect()[0][0]
    if newest is None:
        return pd.DataFrame(columns=["day", "rows", "users", "share"])
    start = F.date_trunc("day", F.lit(newest)) - F.expr(f"make_dt_interval({days - 1})")
    scored = latest(scores.where(F.col("window_start") >= start), SCORES).where("verdict <> 'insufficient_data'")
    by_day = scored.groupBy(F.date_trunc("day", "window_start").alias("day")).agg(
        F.count("*").alias("rows"),
        F.countDistinct("user_id").alias("users"),
        F.avg((F.col("verdict") == "anomaly").cast("double")).alias("share"),
    )
    return by_day.orderBy("day").toPandas()


def _record(
    spark: SparkSession,
    lake: Lake,
    champion: LoadedModel,
    report: Report,
    sample: TrainingSample | None,
    days: pd.DataFrame,
) -> None:
    now = datetime.now(UTC)
    common: dict[str, Any] = {
        "run_id": f"drift:{now.isoformat()}",
        "checked_at": now,
        "model_name": champion.name,
        "model_version": champion.version,
        "since": None if sample is None else sample.first,
        "until": None if sample is None else sample.last,
        "rows": report.rows,
        "users": report.users,
        "drifted": False,
        "retrain": report.retrain,
        "because": report.because,
    }
    expected = champion.reference.row_scores.above(champion.threshold)
    rows = [common | vars(finding) for finding in report.findings] or [common | {"subject": NOTHING}]
    for row in days.to_dict("records"):
        of_day = {"subject": DAY, "day": row["day"].to_pydatetime().replace(tzinfo=UTC), "expected": expected}
        rows.append(common | of_day | {"rows": row["rows"], "users": row["users"], "found": row["share"]})
    filled = [[row.get(name) for name in DRIFT_REPORTS.columns] for row in rows]
    frame = spark.createDataFrame(filled, DRIFT_REPORTS.schema)
    lake.append(frame.coalesce(1), DRIFT_REPORTS, batch_id=str(common["run_id"]))


def show(report: Report, days: pd.DataFrame, console: Console) -> None:
    """Print what was compared, those that drifted first, and the flag rate by day."""
    table = Printed("", "expected", "found", "PSI", "distance", "shift", "")
    for one in sorted(report.findings, key=lambda finding: (not finding.drifted, -(finding.psi or 0.0))):
        share = one.subject == FLAG_RATE
        own = [f"{value:.2%}" if share else f"{value:.4g}" for value in (one.expected, one.found)]
        measures = ["" if value is None else f"{value:.3f}" for value in (one.psi, one.distance, one.shift)]
        table.add_row(one.subject, *own, *measures, "drifted" if one.drifted else "")
    if report.findings:
        console.print(table)
    for row in days.to_dict("records"):
        console.print(f"{row['day']:%Y-%m-%d}: {row['share']:.2%} of {row['rows']:,} rows flagged", highlight=False)
    console.print(f"{report.rows:,} rows of {report.users:,} users were compared.", highlight=False)


def main(
    env: cli.Environment = "local",
    overrides: cli.Overrides = None,
    retrain: Annotated[bool, typer.Option("--retrain", help="Train and register a model when one is due.")] = False,
) -> None:
    """Check for drift. Reads features, scores and the registry; writes drift_reports (--retrain: and the registry)."""
    settings = load_settings(env, overrides or ())
    spark = spark_session(settings)
    lake = Lake(spark, settings.storage.root)
    lake.create(FEATURE_TABLE, SCORES, FEEDBACK, DRIFT_REPORTS)
    _, report, days = check(spark, lake, settings)
    show(report, days, Console(soft_wrap=True))
    if retrain and report.retrain:
        version = train_model.train(spark, lake, settings, tell=typer.echo)
        typer.echo(f"Version {version} is registered. Promote it: python -m jobs.promote_model --version {version}.")
    typer.echo(report.line())


if __name__ == "__main__":
    cli.run(main)
