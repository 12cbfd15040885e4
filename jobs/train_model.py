"""Learn what is normal from feature rows and register the model, with where it came from.

Reads tables features (at one Delta version) and feedback; writes a run and a version to the model registry. Promotes
nothing. Rows that analysts confirmed as anomalous are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import typer
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from alerts.feedback import confirmed
from features.errors import UsageError
from features.revisions import latest
from features.tables import FEATURE_TABLE, FEEDBACK
from lake.spark_tables import Lake
from registry.configured import registry_of
from registry.training_record import record_of
from scoring.cohorts import PAST
from scoring.model import Parameters
from settings import Settings, cli, load_settings
from settings.times import time_range
from spark.session import spark_session
from training import trial
from training.dataset import training_rows
from training.model import SIZE, features_of, fit
from training.search import Tried, search
from training.summary import describe

EXAMPLE_ROWS = 200
NEEDED = (*FEATURE_TABLE.keys, "session_start", "feature_version", "batch_time", "batch_id")
"""Columns that rows are chosen by; of the features only the model's are read."""


@dataclass(frozen=True)
class TrainingOptions:
    """Which rows to learn from, and how many parameter sets to try.

    ``version`` is the Delta version of features (None: the newest); rows with ``since <= window_start < until``.
    ``search`` 0 takes the settings' parameters. Without ``trial`` the model is not tried on simulated days: the gate
    does that with its own, and a first model has nothing to be compared with.
    """

    version: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    search: int = 0
    trial: bool = True


def train(
    spark: SparkSession,
    lake: Lake,
    settings: Settings,
    options: TrainingOptions | None = None,
    tell: Callable[[str], object] = lambda _: None,
) -> str:
    """Train on features as the options say and register the result; returns the registered version.

    ``tell`` gets a line about what was taken, and one for each parameter set that was tried.

    Raises:
        ModelError: too few rows can be scored, or the registry cannot be reached.
        UsageError: the features have no such Delta version, or the preset no parameters to search.
    """
    options = options or TrainingOptions()
    chosen = settings.model
    version = _version(lake, options)
    names = dict.fromkeys((*features_of(chosen.preset), SIZE, PAST))
    features = lake.read(FEATURE_TABLE, version).select(*NEEDED, *names)
    excluded = confirmed(lake)
    sample = training_rows(
        latest(within(features, options.since, options.until), FEATURE_TABLE),
        chosen.min_session_events,
        chosen.max_training_rows,
        chosen.seed,
        excluded,
        tuple(names),
    )
    tell(sample.describe())
    parameters, tried = Parameters(chosen.trees, chosen.subsample, chosen.seed), list[Tried]()
    if options.search:
        days = trial.search_rows(chosen.trial_users, chosen.min_session_events)
        parameters, tried = search(sample.rows, chosen.preset, parameters, options.search, days, tell=tell)
    model = fit(sample.rows, chosen.preset, parameters)
    reference = describe(model, sample.rows, sample.days, chosen.flagged_share)
    choices: dict[str, object] = {
        "since": options.since,
        "until": options.until,
        "search": options.search,
        "excluded_ranges": _count(excluded),
    }
    record = record_of(
        model, sample, tried, settings.model, lake.path(FEATURE_TABLE), version, choices, tries=options.trial
    )
    return registry_of(settings).log_and_register(model, reference, sample.rows.head(EXAMPLE_ROWS), record)


def within(rows: DataFrame, since: datetime | None, until: datetime | None) -> DataFrame:
    """Rows with ``since <= window_start < until``; None is open."""
    if since is not None:
        rows = rows.where(F.col("window_start") >= F.lit(since))
    return rows if until is None else rows.where(F.col("window_start") < F.lit(until))


def _version(lake: Lake, options: TrainingOptions) -> int:
    newest = lake.version(FEATURE_TABLE)
    if options.version is None:
        return newest
    if not (0 <= options.version <= newest and lake.has_version(FEATURE_TABLE, options.version)):
        raise UsageError(
            f"Table features has no Delta version {options.version}: the newest is {newest}, and old ones are "
            "forgotten after some time. Leave --version out for the newest."
        )
    return options.version


def _count(excluded: DataFrame | None) -> int:
    return 0 if excluded is None else excluded.count()


def small(settings: Settings) -> Settings:
    """The settings with ``model.driver_memory`` for Spark, and the garbage collector that needs least itself."""
    if settings.model.driver_memory is None:
        return settings
    java = " ".join(word for word in (settings.spark.java_options, "-XX:+UseSerialGC") if word)
    spark = settings.spark.model_copy(update={"driver_memory": settings.model.driver_memory, "java_options": java})
    return settings.model_copy(update={"spark": spark})


def main(
    env: cli.Environment = "local",
    overrides: cli.Overrides = None,
    version: Annotated[int | None, typer.Option(help="Delta version of features; the newest when left out.")] = None,
    since: Annotated[
        str | None, typer.Option(help="First minute, ISO-8601 with offset; the oldest when left out.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="First minute not taken; after the newest when left out.")] = None,
    search_count: Annotated[
        int, typer.Option("--search", min=0, help="Try so many sets of parameters and take the best; 0: the settings'.")
    ] = 0,
) -> None:
    """Train and register a model. Reads features and feedback; writes to the model registry."""
    first, last = time_range(since, until)
    settings = load_settings(env, overrides or ())
    spark = spark_session(small(settings))
    lake = Lake(spark, settings.storage.root)
    lake.create(FEATURE_TABLE, FEEDBACK)
    registered = train(spark, lake, settings, TrainingOptions(version, first, last, search_count), typer.echo)
    typer.echo(
        f"Version {registered} of {settings.model.name} is registered. Promote it: python -m jobs.promote_model."
    )


if __name__ == "__main__":
    cli.run(main)
