"""Learn what is normal from feature rows and register the model, with where it came from.

Reads table features (at one Delta version); writes a run and a version to the model registry. Promotes nothing.
"""

from __future__ import annotations

import typer
from pyspark.sql import SparkSession

from features.revisions import latest
from features.tables import FEATURE_TABLE
from jobs.runtime import cli
from jobs.runtime.lake import Lake
from jobs.runtime.models import registry_of
from jobs.runtime.session import spark_session
from jobs.runtime.settings import Settings, load_settings
from training.dataset import training_rows
from training.model import Parameters, fit
from training.registry import TrainingRecord
from training.summary import describe

EXAMPLE_ROWS = 20


def train(spark: SparkSession, lake: Lake, settings: Settings) -> str:
    """Train on the newest Delta version of features and register the result; returns the registered version.

    Raises:
        ModelError: too few rows can be judged, or the registry cannot be reached.
    """
    chosen = settings.model
    version = lake.version(FEATURE_TABLE)
    newest = latest(lake.read(FEATURE_TABLE, version), FEATURE_TABLE)
    taken = training_rows(newest, chosen.min_session_events, chosen.max_training_rows, chosen.seed)
    model = fit(taken.rows, chosen.preset, Parameters(chosen.trees, chosen.subsample, chosen.seed))
    reference = describe(model, taken.rows, taken.days, chosen.flagged_share)
    record = TrainingRecord(
        source=lake.path(FEATURE_TABLE),
        delta_version=version,
        parameters={"flagged_share": chosen.flagged_share, "min_session_events": chosen.min_session_events},
        metrics=taken.counts(),
    )
    return registry_of(settings).log_and_register(model, reference, taken.rows.head(EXAMPLE_ROWS), record)


def main(env: cli.Environment = "local", overrides: cli.Overrides = None) -> None:
    """Train and register a model. Reads features; writes to the model registry."""
    settings = load_settings(env, overrides or ())
    spark = spark_session(settings)
    lake = Lake(spark, settings.storage.root)
    lake.create(FEATURE_TABLE)
    version = train(spark, lake, settings)
    typer.echo(f"Version {version} of {settings.model.name} is registered. Promote it: python -m jobs.promote_model.")


if __name__ == "__main__":
    cli.run(main)
