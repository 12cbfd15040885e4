"""Start streaming queries by what :mod:`streams.flow` says of them."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from pyspark.sql import SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from lake.spark_tables import Lake
from settings import Settings
from streams.flow import Stream


def starter(
    spark: SparkSession, lake: Lake, settings: Settings, *, once: bool = False
) -> Callable[[Stream], StreamingQuery]:
    """What starts a query, by the job of its name; see there for what it raises."""

    def start(stream: Stream) -> StreamingQuery:
        job = import_module(f"jobs.{stream.query}")  # only now: scoring brings MLflow along, which takes seconds
        query: StreamingQuery = job.start(spark, lake, settings, once=once)
        return query

    return start
