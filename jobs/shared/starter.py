"""Start streaming queries by what :mod:`streams.flow` says of them."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from pyspark.sql import SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from lake.spark_tables import Lake
from pipeline import one_pass
from settings import Settings
from streams import queries
from streams.flow import Stream, noted


def starter(
    spark: SparkSession, lake: Lake, settings: Settings, *, once: bool = False
) -> Callable[[Stream], StreamingQuery]:
    """What starts a query, by the job of its name; see there for what it raises."""

    def start(stream: Stream) -> StreamingQuery:
        job = import_module(f"jobs.{stream.query}")  # only now: scoring brings MLflow along, which takes seconds
        query: StreamingQuery = job.start(spark, lake, settings, once=once)
        return query

    return start


def finisher(spark: SparkSession, lake: Lake, settings: Settings) -> Callable[[Stream], None]:
    """What lets a query that nobody runs do what there is to do, and end; a step of the one pass: what that owes."""
    start = starter(spark, lake, settings, once=True)

    def finish(stream: Stream) -> None:
        if noted(settings) is None or stream.reads is None:
            queries.finish(start(stream), settings)
        else:
            one_pass.catch_up(spark, lake, settings)

    return finish
