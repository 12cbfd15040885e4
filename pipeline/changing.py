"""From the three queries to the one pass and back, with the positions.

Kafka is read by one checkpoint in both ways, so only what comes after ingest has to be carried over: up to which
versions of events and features all is taken. It is carried by one small file, which is written, or removed, when all
else is done: who is killed on the way has changed nothing, and begins again.
"""

from __future__ import annotations

from collections.abc import Callable

from pyspark.sql import SparkSession

from features.errors import BehaviorError
from features.tables import Table
from lake import notes
from lake.hadoop_files import HadoopFolder, remove, remove_folder
from lake.spark_tables import Lake
from settings import Settings
from streams import queries
from streams.checkpoints import Checkpoint
from streams.flow import AFTER_INGEST, FEATURES, FLOW, TOGETHER, Stream, noted
from streams.progress import position


def is_together(settings: Settings) -> bool:
    """Whether the one pass has the tables."""
    return noted(settings) is not None


def to_one_pass(spark: SparkSession, lake: Lake, settings: Settings, finish: Callable[[Stream], None]) -> None:
    """Let the three queries come to rest, and note how far they are.

    Args:
        finish: lets a query do what there is to do, and ends it.

    Raises:
        BehaviorError: somebody runs one of them, or one has not come to an end.
    """
    if is_together(settings):
        return
    for stream in FLOW:
        if _has_run(spark, settings, stream):
            finish(stream)
    note: dict[str, list[int]] = {}
    for stream in AFTER_INGEST:
        assert stream.reads is not None
        where = position(spark, settings, stream.query)
        if where is not None and where.batch != where.started:
            raise BehaviorError(
                f"Query {stream.query} has not come to the end of a version of {stream.reads.name}. Let it run "
                f"(python -m jobs.{stream.query} --once), then change again."
            )
        taken = 0 if where is None else max(where.version, 0)
        note[stream.reads.name] = [taken, _next_version(lake, stream.last)]
    notes.write(queries.checkpoint(settings, TOGETHER.query), TOGETHER.note, note)


def to_three_queries(
    spark: SparkSession, lake: Lake, settings: Settings, catch_up: Callable[[], dict[str, list[int]]]
) -> None:
    """Do what the one pass owes, and let the three queries begin where it has come.

    Rows that have no scores yet, since there is no model, are what score_features begins with.

    Args:
        catch_up: does what is owed, and returns from where on something still is, by source.

    Raises:
        BehaviorError: events are owed all the same.
    """
    if not is_together(settings):
        return
    owed_from = catch_up()
    for stream in AFTER_INGEST:
        assert stream.reads is not None
        since, newest = owed_from.get(stream.reads.name, [0])[0], _next_version(lake, stream.reads)
        if stream is FEATURES and since < newest:
            raise BehaviorError(
                f"Some of what was appended to {stream.reads.name} since version {since} is not in "
                f"{stream.result.name} yet; the log says why. Let {TOGETHER.query} run until it is, then change again."
            )
        if since >= newest:
            lake.commit([], stream.reads, batch_id="change_flow")  # Delta's source begins at no version yet to come
        folder = queries.checkpoint(settings, stream.query)
        remove_folder(spark, folder)
        notes.write(folder, queries.BEGIN, {"version": since})
    remove(spark, f"{queries.checkpoint(settings, TOGETHER.query)}/{TOGETHER.note}.json")


def _has_run(spark: SparkSession, settings: Settings, stream: Stream) -> bool:
    return bool(Checkpoint(HadoopFolder(spark, queries.checkpoint(settings, stream.query))).planned())


def _next_version(lake: Lake, table: Table) -> int:
    return max(lake.versions(table), default=-1) + 1
