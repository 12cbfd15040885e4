"""Lakes for benchmarks: history made in Spark, laid out as ``maintain_tables`` leaves it, and a batch of events."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from features.columns import shaped
from features.tables import EVENTS, TILES
from lake.spark_tables import Lake
from settings import Settings, load_settings
from spark.session import spark_session

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
"""Event time of the newest tile; the batches follow."""
PAGES = 40


WARM_JAVA = "spark.java_options=-XX:ReservedCodeCacheSize=512m"
"""Throughput is measured with both of Java's compilers, as on a cluster; conf/local.yaml has the quick one only."""


def settings_in(folder: Path, *more: str) -> Settings:
    """Settings of a local platform under ``folder``."""
    places = [f"storage.root={folder}/lake", f"storage.checkpoints={folder}/checkpoints"]
    return load_settings("local", [*places, "spark.master=local[2]", WARM_JAVA, *more])


def moved(settings: Settings, place: Path) -> Settings:
    """The same settings with tables and checkpoints under ``place``."""
    storage = settings.storage.model_copy(update={"root": f"{place}/lake", "checkpoints": f"{place}/checkpoints"})
    return settings.model_copy(update={"storage": storage})


def session(folder: Path) -> SparkSession:
    """The session of a local run, quiet."""
    spark = spark_session(settings_in(folder))
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def user_name(number: str) -> str:
    """SQL: the id of user ``number``. Neighbours in number are no neighbours in name."""
    return f"concat('user-', substr(sha1(CAST({number} AS STRING)), 1, 12))"


def write_history(lake: Lake, users: int, hours: int, tiles_a_day: float) -> None:
    """Tiles of ``users`` over the ``hours`` before :data:`NOW`, evenly spread; one run of user ids per day and file."""
    count, minutes = round(users * hours * tiles_a_day / 24), hours * 60
    rows = lake.spark.range(0, count, 1, 8).selectExpr(
        f"{user_name(f'id % {users}')} AS user_id",
        f"timestamp_seconds({int(NOW.timestamp())} - 60 * (1 + pmod(xxhash64(id, 1), {minutes}))) AS window_start",
        f"concat('/page/', pmod(xxhash64(id, 2), {PAGES})) AS page",
        "2L AS events", "1L AS clicks", "1L AS views", "0L AS interactions",
        "shiftleft(1L, CAST(pmod(xxhash64(id, 3), 60) AS INT)) | shiftleft(1L, CAST(pmod(xxhash64(id, 4), 60) AS INT))"
        " AS second_mask",
        "CAST(NULL AS BIGINT) AS session_mark",
    ).withColumns({"last_received_at": F.col("window_start"), "batch_time": F.col("window_start")})  # fmt: skip
    day = F.floor(F.unix_seconds("window_start") / 86_400)
    laid = rows.withColumn("batch_id", F.lit("fold:history:0")).repartitionByRange(max(1, hours // 24), day, "user_id")
    lake.append(shaped(laid.sortWithinPartitions("user_id", "window_start"), TILES.schema), TILES, batch_id="history")


def events_of(spark: SparkSession, events: int, users: int, of: int, seconds: int = 120) -> DataFrame:
    """``events`` by ``users`` of the first ``of`` users (the same ones whatever ``of``), from :data:`NOW` on."""
    known = {
        "user_id": user_name(f"id % {min(users, of)}"),
        "action": "element_at(array('click', 'view', 'view', 'interaction'), CAST(1 + id % 4 AS INT))",
        "page": f"concat('/page/', pmod(xxhash64(id, 6), {PAGES}))",
        "timestamp": f"timestamp_seconds({int(NOW.timestamp())} + pmod(xxhash64(id, 7), {seconds}))",
        "received_at": f"timestamp_seconds({int(NOW.timestamp())} + pmod(xxhash64(id, 7), {seconds}) + 1)",
        "ingested_at": f"timestamp_seconds({int((NOW + timedelta(hours=1)).timestamp())})",
        "topic": "'bench'", "partition": "0", "offset": "id", "ingest_id": "'bench:0'",
    }  # fmt: skip
    rows = spark.range(0, events, 1, 2)
    return shaped(
        rows.selectExpr(*[f"{known.get(name, 'NULL')} AS `{name}`" for name in EVENTS.columns]), EVENTS.schema
    )


def write_events(lake: Lake, events: int, users: int, hours: int, commits: int) -> None:
    """``events`` in order of time over the ``hours`` after :data:`NOW`, as ingest would append them: commit by commit.

    A few people act far more often than the rest, as everywhere.
    """
    lake.create(EVENTS)
    each, share = events // commits, timedelta(hours=hours) / commits
    for number in range(commits):
        base = int((NOW + number * share).timestamp())
        seconds = max(1, int(share.total_seconds()))
        second = f"timestamp_seconds({base} + pmod(xxhash64(id, {number}, 7), {seconds}))"
        known = {
            "user_id": user_name(f"CAST({users} * pow(pmod(xxhash64(id, {number}, 1), 100003) / 100003.0, 2) AS INT)"),
            "action": "element_at(array('click', 'view', 'view', 'interaction'), CAST(1 + id % 4 AS INT))",
            "page": f"concat('/page/', pmod(xxhash64(id, {number}, 6), {PAGES}))",
            "timestamp": second, "received_at": second, "ingested_at": second,
            "topic": "'bench'", "partition": "CAST(id % 4 AS INT)", "offset": f"id + {number * each}",
            "ingest_id": f"'bench:{number}'",
        }  # fmt: skip
        rows = lake.spark.range(0, each, 1, 4).selectExpr(*[f"{known.get(n, 'NULL')} AS `{n}`" for n in EVENTS.columns])
        lake.append(shaped(rows, EVENTS.schema), EVENTS, batch_id=f"bench:{number}")


class Usage:
    """What this process and all it started used: most memory held at once (sampled, MB) and processor seconds."""

    def __init__(self) -> None:
        self.peak = 0.0
        self.cpu: list[float] = []
        self._stop = threading.Event()

    def _sample(self) -> None:
        while not self._stop.wait(0.2):
            self.peak = max(self.peak, sum(_of_each(lambda one: one.memory_info().rss)) / 1e6)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Sample while the block runs."""
        self._stop.clear()
        sampler = threading.Thread(target=self._sample, daemon=True)
        sampler.start()
        before = _processor_seconds()
        try:
            yield
        finally:
            self.cpu.append(_processor_seconds() - before)
            self._stop.set()
            sampler.join()


def _of_each(figure: Callable[[psutil.Process], float]) -> Iterator[float]:
    me = psutil.Process()
    for one in (me, *me.children(recursive=True)):
        try:
            yield figure(one)
        except psutil.Error:
            continue


def _processor_seconds() -> float:
    return sum(_of_each(lambda one: one.cpu_times().user + one.cpu_times().system))
