"""Apply the champion of the model registry to new feature rows, with reasons for what is flagged.

Reads table features (as a stream) and the model registry; writes table scores and, with score.shadow, shadow_scores.
"""

from __future__ import annotations

import logging

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from features.revisions import latest
from features.tables import FEATURE_TABLE, SCORES, SHADOW_SCORES
from jobs.shared.starter import finisher
from lake.log import NO_VERSION
from lake.spark_tables import Lake
from pipeline.score import append
from registry.configured import registry_of
from scoring.arrays import Rules
from scoring.champion import ChampionFollower
from scoring.frames import score
from scoring.shadow import ChallengerFollower
from settings import Settings, cli, load_settings
from spark.session import spark_session
from streams import queries
from streams.flow import SCORING
from streams.progress import position, refuse_together
from streams.recomputed import RecomputedRows
from telemetry import logs, metrics
from telemetry.steps import Steps

QUERY = SCORING.query
log = logging.getLogger(__name__)


def start(spark: SparkSession, lake: Lake, settings: Settings, *, once: bool = False) -> StreamingQuery:
    """Start the query; see the module's text.

    The champion is asked for at every micro-batch, so a promotion takes effect with the next one.

    Raises:
        ModelError: there is no champion, with what to run.
    """
    refuse_together(settings, QUERY)
    queries.refuse_lost_checkpoint(spark, lake, settings, QUERY, SCORES)
    follower = ChampionFollower(registry_of(settings))
    first = follower.follow().champion
    metrics.model(first.name, first.version)
    rules = Rules(settings.model.min_session_events, settings.score.max_reasons)
    shadow = ChallengerFollower(registry_of(settings)) if settings.score.shadow else None
    if shadow is not None:
        lake.create(SHADOW_SCORES)
    reached = position(spark, settings, QUERY)
    recomputed = RecomputedRows(lake, FEATURE_TABLE, NO_VERSION if reached is None else reached.version - 1)

    def process(features: DataFrame, batch: queries.Batch) -> None:
        steps = Steps(QUERY, batch.number)
        with steps.step("resolve champion"):
            followed = follower.follow()
        about = {"query": QUERY, "batch": batch.number, "model_version": followed.champion.version}
        if followed.changed:
            log.info("batch %s: version %s scores from here on", batch.id, followed.champion.version, extra=about)
            metrics.model(followed.champion.name, followed.champion.version)
        if followed.trouble:
            log.warning("batch %s: %s", batch.id, followed.trouble, extra=about)
        challenger = None if shadow is None else shadow.follow(followed.champion)
        # Of a key one row a batch: two would have the same batch_time and batch_id, and neither would be the newest.
        newest_rows = latest(recomputed.without_replaced(features), FEATURE_TABLE).drop("batch_time", "batch_id")
        rows = score(newest_rows, followed.champion, rules, challenger)
        if settings.metrics.port:
            rows = metrics.observed(rows)
        with steps.step("score and append"):
            append(lake, rows, batch, has_shadow=challenger is not None)
        recomputed.passed(batch)
        steps.report()

    stream = lake.read_stream(FEATURE_TABLE, settings.stream.max_files_per_trigger, queries.begin_of(settings, QUERY))
    newest = lake.newest(SCORES, *([] if shadow is None else [SHADOW_SCORES]))
    return queries.start(stream, QUERY, process, settings, once=once, newest=newest)


def main(env: cli.Environment = "local", overrides: cli.Overrides = None, once: cli.Once = False) -> None:
    """Score new feature rows. Reads features and the model registry; writes scores."""
    settings = load_settings(env, overrides or ())
    logs.to_stderr(settings.log)
    spark = spark_session(settings)
    lake = Lake(spark, settings.storage.root)
    lake.create(FEATURE_TABLE, SCORES)
    if once:
        finisher(spark, lake, settings)(SCORING)  # on tables of run_pipeline: what that one owes
    else:
        queries.finish(start(spark, lake, settings), settings)


if __name__ == "__main__":
    cli.run(main)
