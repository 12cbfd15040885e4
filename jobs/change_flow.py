"""Change from the three queries (ingest_events, build_features, score_features) to the one pass, or back.

Reads the checkpoints and the logs of the tables; lets what has the tables do what there is to do, and writes from where
on the other goes on: nothing is read again, nothing is left out.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

import typer

from jobs.shared.starter import finisher
from lake.spark_tables import Lake
from pipeline import one_pass
from pipeline.changing import is_together, to_one_pass, to_three_queries
from settings import cli, load_settings
from spark.session import spark_session

To = Literal["one-pass", "three-queries"]


def main(
    to: Annotated[To, typer.Option("--to", help="What is to have the tables from now on.")],
    env: cli.Environment = "local",
    overrides: cli.Overrides = None,
) -> None:
    """Change between run_pipeline and the three jobs. Reads checkpoints; writes tables and positions."""
    settings = load_settings(env, overrides or ())
    if is_together(settings) == (to == "one-pass"):
        typer.echo(f"Nothing to change: {to} has the tables.")
        return
    spark = spark_session(settings)
    lake = Lake(spark, settings.storage.root)
    lake.create()
    if to == "one-pass":
        to_one_pass(spark, lake, settings, finisher(spark, lake, settings))
        typer.echo("From now on: python -m jobs.run_pipeline.")
    else:
        to_three_queries(spark, lake, settings, partial(one_pass.catch_up, spark, lake, settings))
        typer.echo("From now on: python -m jobs.ingest_events, jobs.build_features and jobs.score_features.")


if __name__ == "__main__":
    cli.run(main)
