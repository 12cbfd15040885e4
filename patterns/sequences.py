"""Events of a day to sequences of kinds of pages, one per session.

Sessions are those of the features: an event belongs to the session of its user's feature row of its minute. What is
no step of a person's way is left out: assets, pages that other pages load, the same page again, and of a run of
pages of one kind all but two (two say "several").
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import pyarrow as pa
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, StringType, StructField, StructType, TimestampType

from features.columns import minute_of
from patterns.pages import PageKinds

LOADED_SECONDS = 3
"""A page that comes so soon after another one was not chosen by a person ..."""
LOADED_SHARE = 0.7
"""... and if this share of a page's visits that follow on another come so (mean of users), others load it,"""
LOADED_USERS = 5
"""if so many users say so."""
RUN = 2

ORDER = ("user_id", "session_start", "timestamp", "partition", "offset", "part")

SEQUENCE = StructType(
    [
        StructField("user_id", StringType()),
        StructField("session_start", TimestampType()),
        StructField("steps", ArrayType(StringType())),
    ]
)


def acts(events: DataFrame, rows: DataFrame) -> DataFrame:
    """What was done in sessions: user_id, session_start, timestamp, partition, offset, part, action, page.

    Args:
        events: columns of the events table.
        rows: feature rows; they say which session a user's minute belongs to.
    """
    sessions = rows.select("user_id", "window_start", "session_start")
    return (
        events.withColumn("window_start", minute_of(F.col("timestamp")))
        .join(sessions, ["user_id", "window_start"], "inner")
        .select(*ORDER, "action", "page")
    )


def page_visits(acts: DataFrame, most: int) -> DataFrame:
    """Per page: its users, their weight, and how often it comes along with another page.

    Returns page, users, weight (each user counts 1, spread over the user's pages), followers (users who came to it from
    another page) and loaded (how many of these so soon that the other page loaded it), of the ``most`` most used pages.
    """
    of_session = Window.partitionBy("user_id", "session_start").orderBy(*ORDER[2:])
    before = F.lag(F.struct("page", "timestamp")).over(of_session)
    soon = F.col("timestamp") <= before["timestamp"] + F.expr(f"interval {LOADED_SECONDS} seconds")
    along = F.when(before["page"] != F.col("page"), soon.cast("int"))  # null where nothing else was there before
    by_user = acts.withColumn("along", along).groupBy("user_id", "page").agg(F.avg("along").alias("along"))
    weighed = by_user.withColumn("weight", 1.0 / F.count("*").over(Window.partitionBy("user_id")))
    return (
        weighed.groupBy("page")
        .agg(
            F.count("*").alias("users"),
            F.sum("weight").alias("weight"),
            F.count("along").alias("followers"),
            F.coalesce(F.sum("along"), F.lit(0.0)).alias("loaded"),
        )
        .orderBy(F.desc("users"), "page")
        .limit(most)
        .select("page", "users", "weight", "followers", "loaded")
    )


def loaded_pages(pages: Collection[tuple[str, int, float]], kinds: PageKinds) -> list[str]:
    """Pages that other pages load: of a fixed kind, most of whose visits follow at once on another page's.

    Args:
        pages: page, followers and loaded, as :func:`page_visits` counts them.
    """
    totals: dict[str, tuple[float, float]] = {}
    for page, followers, along in pages:
        kind = kinds.kind_of(page)
        known = totals.get(kind, (0.0, 0.0))
        totals[kind] = (known[0] + followers, known[1] + along)
    loaded = {
        kind
        for kind, (followers, along) in totals.items()
        if "*" not in kind and followers >= LOADED_USERS and along >= LOADED_SHARE * followers
    }
    return sorted(page for page, _, _ in pages if kinds.kind_of(page) in loaded)


def sequences(acts: DataFrame, kinds: PageKinds, longest: int) -> DataFrame:
    """One row per session (:data:`SEQUENCE`) with its first ``longest`` steps."""
    ordered = acts.repartition("user_id").sortWithinPartitions(*ORDER).select("user_id", "session_start", "page")

    def walk(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        session: tuple[str, object] | None = None
        steps: list[str] = []
        last = ""
        done: list[tuple[str, object, list[str]]] = []
        for batch in batches:
            pages = batch.column("page").dictionary_encode()
            names, known = pages.dictionary.to_pylist(), pages.indices.to_pylist()
            named = [kinds.kind_of(name) for name in names]
            users, starts = batch.column("user_id").to_pylist(), batch.column("session_start").to_pylist()
            for user, start, code in zip(users, starts, known, strict=True):
                if session != (user, start):
                    if session is not None and steps:
                        done.append((*session, steps))
                    session, steps, last = (user, start), [], ""
                kind = named[code]
                if len(steps) >= longest or names[code] == last:
                    continue
                last = names[code]
                if steps[-RUN:] != [kind] * RUN:
                    steps.append(kind)
            if len(done) >= 10_000:
                yield _batch(done)
                done = []
        if session is not None and steps:
            done.append((*session, steps))
        yield _batch(done)

    return ordered.mapInArrow(walk, SEQUENCE)


def _batch(rows: list[tuple[str, object, list[str]]]) -> pa.RecordBatch:
    kinds = (pa.string(), pa.timestamp("us", "UTC"), pa.list_(pa.string()))
    columns = zip(*rows, strict=True) if rows else ((), (), ())
    arrays = [pa.array(list(values), kind) for values, kind in zip(columns, kinds, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, names=SEQUENCE.fieldNames())
