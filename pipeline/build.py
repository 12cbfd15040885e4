"""New events to tiles, and to the feature rows that they change: one micro-batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc
from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.behavior import SessionRules, behavior, gathered, lean, whole_users
from features.identities import told
from features.lending import Lending
from features.tables import FEATURE_TABLE, TILES
from features.tiles import FOLDED, merge, tiles_of_one
from lake.person_rows import Selection
from lake.spark_tables import Lake
from lake.worker_files import TableFiles
from pipeline.links import KnownLinks, NewLinks
from pipeline.workers import stamp, write_users
from streams import queries
from streams.flow import FEATURES
from streams.look_back import look_back, look_back_micros, with_near_tiles
from telemetry.steps import Steps

QUERY = FEATURES.query
BUILT_OF = (*FOLDED, "anonymous_id", "topic")
"""Columns of events that tiles and links are made of."""
Commit = Callable[..., None]


def build(
    lake: Lake,
    events: DataFrame,
    rules: SessionRules,
    links: KnownLinks,
    batch: queries.Batch,
    commit: Commit = queries.side_by_side,
) -> None:
    """One micro-batch: append the events' partial tiles, the links that they tell, and the rows that these change.

    The commits of tiles and features are independent and each happens once, so their order does not matter and a crash
    between them is mended when the batch runs again: the look-back never holds the batch's own tiles. ``commit`` makes
    both, features first. Where there are new links, their commit comes after features and before tiles.
    """
    steps = Steps(QUERY, batch.number)
    # Looked at three times. Spark counts a batch's rows by what it reads of the source, which is to be read once.
    events = events.select(*BUILT_OF).persist(StorageLevel.MEMORY_AND_DISK)
    try:
        with steps.step("look"):
            people = (
                events.groupBy(
                    "user_id",
                    F.floor(F.unix_micros("timestamp") / look_back_micros(rules)).alias("part"),
                    "anonymous_id",
                )
                .agg(
                    F.min(F.unix_micros("timestamp")).alias("first"),
                    F.max(F.unix_micros("timestamp")).alias("last"),
                    F.count("*").alias("events"),
                    F.min_by("topic", "timestamp").alias("topic"),
                )
                .toArrow()
            )
        if not people.num_rows:
            return
        count = pc.sum(people["events"]).as_py()
        pairs = people.filter(people["anonymous_id"].is_valid()).rename_columns({"first": "micros", "topic": "source"})
        new = links.of_batch(people, told(pairs))
        commit = in_order(commit, new, lake, batch)
        selection = Selection(look_back(new.people, rules), batch.id)
        tiles = with_near_tiles(lake, tiles_of_one(events), selection)
        partitions = min(lake.shuffle_partitions, 1 + count // queries.ROWS_A_FILE)
        if lake.takes_files:
            with steps.step("write"):
                users = gathered(lean(tiles), partitions, new.lending)
                write = tiles_and_rows_writer(rules, new.lending, batch)
                written = lake.written_by_workers(users, (TILES, FEATURE_TABLE), write)
            with steps.step("commit"):
                commit(*[partial(batch.commit, lake, written[table], table) for table in (FEATURE_TABLE, TILES)])
        else:
            with steps.step("append"):
                append_rows(lake, tiles, rules, new.lending, batch, commit)
        links.committed()
    finally:
        events.unpersist()
        steps.report()


def in_order(commit: Commit, new: NewLinks, lake: Lake, batch: queries.Batch) -> Commit:
    """``commit`` with the commit of ``new`` links between those of features and tiles, where there are any."""
    if not new.links:
        return commit

    def after_each_other(features: Callable[[], None], tiles: Callable[[], None]) -> None:
        features()
        new.commit(lake, batch)
        tiles()

    return after_each_other


def append_rows(
    lake: Lake, tiles: DataFrame, rules: SessionRules, lending: Lending | None, batch: queries.Batch, commit: Commit
) -> None:
    """The same by Spark's own writer, in two passes: where workers cannot write a table's files."""
    fresh = merge(tiles.where("fresh"))
    commit(
        partial(batch.append, lake, queries.stamped(behavior(tiles, rules, lending), batch), FEATURE_TABLE),
        partial(batch.append, lake, queries.stamped(fresh, batch), TILES),
    )


def tiles_and_rows_writer(
    rules: SessionRules, lending: Lending | None, batch: queries.Batch
) -> Callable[[Iterator[pa.RecordBatch], TableFiles, TableFiles], None]:
    """What a worker does with its users' tiles: it writes the fresh ones, and the rows that they change."""
    stamped = stamp(batch.time, batch.id)

    def write(batches: Iterator[pa.RecordBatch], tiles: TableFiles, rows: TableFiles) -> None:
        for users in whole_users(batches):
            write_users(users, rules, lending, stamped, tiles, rows)

    return write
