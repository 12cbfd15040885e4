"""Fold new events into tiles and revise the feature rows they touch.

Reads table events (as a stream), table identities and the look-back of table tiles; writes tables tiles, features and
identities.
"""

from __future__ import annotations

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from features.tables import EVENTS, FEATURE_TABLE, IDENTITIES, TILES
from jobs.shared.starter import finisher
from lake.spark_tables import Lake
from pipeline.build import BUILT_OF, build
from pipeline.links import KnownLinks
from settings import Settings, cli, load_settings
from spark.session import spark_session
from streams import queries
from streams.flow import FEATURES
from streams.progress import refuse_together
from streams.rules import session_rules
from telemetry import logs

QUERY = FEATURES.query


def start(spark: SparkSession, lake: Lake, settings: Settings, *, once: bool = False) -> StreamingQuery:
    """Start the query; see the module's text."""
    refuse_together(settings, QUERY)
    queries.refuse_lost_checkpoint(spark, lake, settings, QUERY, TILES)
    rules = session_rules(settings)
    links = KnownLinks(lake, rules.look_back, settings.features.link_identities)

    def process(events: DataFrame, batch: queries.Batch) -> None:
        build(lake, events, rules, links, batch)

    # Chosen in the stream: what a batch selects later does not reach the files, and events carry all that was sent.
    stream = lake.read_stream(EVENTS, settings.stream.max_files_per_trigger, queries.begin_of(settings, QUERY)).select(
        *BUILT_OF
    )
    newest = lake.newest(TILES, FEATURE_TABLE)
    return queries.start(stream, QUERY, process, settings, once=once, newest=newest)


def main(env: cli.Environment = "local", overrides: cli.Overrides = None, once: cli.Once = False) -> None:
    """Fold new events into tiles and revise rows. Reads events, tiles, identities; writes these two and features."""
    settings = load_settings(env, overrides or ())
    logs.to_stderr(settings.log)
    spark = spark_session(settings)
    lake = Lake(spark, settings.storage.root)
    lake.create(EVENTS, TILES, FEATURE_TABLE, IDENTITIES)
    if once:
        finisher(spark, lake, settings)(FEATURES)  # on tables of run_pipeline: what that one owes
    else:
        queries.finish(start(spark, lake, settings), settings)


if __name__ == "__main__":
    cli.run(main)
