"""Any number of processes write one table: a commit that was told is in the log, once, its rows are in the table."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from delta.exceptions import ConcurrentDeleteReadException
from deltalake import DeltaTable, Field
from deltalake.schema import PrimitiveType
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from features.errors import SchemaError
from features.tables import LEDGER_GAPS
from lake import arrow_tables, transactions
from lake.spark_tables import Lake
from lake.transactions import Change
from tests.integration.commit_racers import commit
from tests.integration.table_writers import rows_of
from tests.paths import PROJECT

pytestmark = pytest.mark.integration
KINDS = ("spark", "workers", "deltalake")


class Writer:
    """One of :mod:`tests.integration.table_writers`; it has a process group of its own, to be killed with its Java."""

    def __init__(self, kind: str, root: str, name: str, count: int, env: Mapping[str, str]) -> None:
        self.name = name
        command = [sys.executable, "-m", "tests.integration.table_writers", kind, root, name, str(count)]
        self.process = subprocess.Popen(
            command,
            cwd=PROJECT,
            env={**os.environ, **env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.told: list[int] = []

    def begin(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def is_ready(self) -> bool:
        assert self.process.stdout is not None
        return self.process.stdout.readline() == "ready\n"

    def wait_for(self, number: int) -> None:
        """Until it has told of commit ``number``."""
        assert self.process.stdout is not None
        while not self.told or self.told[-1] < number:
            self.told.append(int(self.process.stdout.readline()))

    def end(self) -> None:
        """Until it has ended; all that it told is known then."""
        assert self.process.stdout is not None
        self.told += [int(line) for line in self.process.stdout if line.endswith("\n")]
        self.process.wait()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.kill()

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.end()


@contextmanager
def writers(
    root: str,
    count: int,
    name: str = "writer",
    env: Mapping[str, str] = MappingProxyType({}),
    kinds: Sequence[str] = KINDS,
) -> Iterator[list[Writer]]:
    """A writer of each kind; all begin at the same moment."""
    with ExitStack() as stack:
        started = [Writer(kind, root, f"{name}-{place}-{kind}", count, env) for place, kind in enumerate(kinds)]
        for writer in started:
            stack.callback(writer.stop)
        assert all(writer.is_ready() for writer in started)
        for writer in started:
            writer.begin()
        yield started


def check(table: DeltaTable, *done: Writer) -> None:
    """What the writers told is in the log of ``table``, once, and its rows are those of the log's commits."""
    told = {f"{writer.name}:{number}" for writer in done for number in writer.told}
    log = Counter(commit["userMetadata"] for commit in table.history() if "userMetadata" in commit)
    assert told <= set(log), "told as written, and not in the log"
    assert set(log.values()) == {1}
    rows = Counter(table.to_pyarrow_table(columns=["batch_id"])["batch_id"].to_pylist())
    assert rows == {batch: len(rows_of(*_split(batch))) for batch in log}


def _split(batch: str) -> tuple[str, int]:
    name, number = batch.rsplit(":", 1)
    return name, int(number)


VERSIONS = 1000


def test_of_java_processes_that_put_one_commit_only_one_is_told_that_it_has(tmp_path: Path) -> None:
    names = ["one", "two", "three"]
    command = [sys.executable, "-m", "tests.integration.commit_racers", str(tmp_path)]
    pipe = subprocess.PIPE
    with ExitStack() as stack:
        racers = [
            stack.enter_context(
                subprocess.Popen([*command, name, str(VERSIONS)], cwd=PROJECT, stdin=pipe, stdout=pipe, text=True)
            )
            for name in names
        ]
        assert [racer.stdout is not None and racer.stdout.readline() for racer in racers] == ["ready\n"] * len(racers)
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
        told = [json.loads(racer.communicate(timeout=300)[0]) for racer in racers]
    for version in range(VERSIONS):
        winners = [name for name, versions in zip(names, told, strict=True) if version in versions]
        assert winners == [commit(tmp_path, version).read_text(encoding="utf-8").strip()]
    assert not list(tmp_path.glob(".*.tmp")), "drafts are left"


def test_two_sparks_and_deltalake_write_one_table_and_nothing_told_is_lost(tmp_path: Path) -> None:
    with writers(str(tmp_path), 25) as all_three:
        for writer in all_three:
            writer.end()
        assert [len(writer.told) for writer in all_three] == [25, 25, 25]
        check(DeltaTable(tmp_path / LEDGER_GAPS.name), *all_three)


def test_of_drivers_of_one_query_that_commit_the_same_batches_one_is_let_through_for_each(tmp_path: Path) -> None:
    with writers(str(tmp_path), 150, kinds=["fenced"] * 3) as drivers:
        for driver in drivers:
            driver.end()
    table = DeltaTable(tmp_path / LEDGER_GAPS.name)
    check(table)
    batches = [_split(commit["userMetadata"]) for commit in table.history() if "userMetadata" in commit]
    assert Counter(number for _, number in batches) == Counter(range(150))
    assert len({name for name, _ in batches}) > 1  # they did meet


def test_a_file_of_the_log_that_is_written_over_is_whole_to_readers_of_other_processes(
    spark: SparkSession, tmp_path: Path
) -> None:
    """A run ended when its reader without Spark found the note of the newest checkpoint empty."""
    jvm, conf = spark.sparkContext._jvm, spark._jsc.hadoopConfiguration()  # noqa: SLF001
    assert jvm is not None
    store, file = jvm.behavior.LocalLogStore(conf), tmp_path / "_last_checkpoint"
    place = jvm.org.apache.hadoop.fs.Path(str(file))
    notes = [json.dumps({"version": number}) for number in range(500)]

    def write() -> None:
        for note in notes:
            lines = jvm.java.util.ArrayList()
            lines.add(note)
            store.write(place, lines.iterator(), True, conf)

    store.write(place, jvm.java.util.ArrayList().iterator(), False, conf)
    file.write_text(f"{notes[0]}\n", encoding="utf-8")
    with ThreadPoolExecutor(1) as pool:
        written, seen = pool.submit(write), Counter[str]()
        while not written.done():
            seen[file.read_text(encoding="utf-8")] += 1
        written.result()
    assert set(seen) <= {f"{note}\n" for note in notes}
    assert len(seen) > 10
    assert store.isPartialWriteVisible(place, conf)  # so Delta writes checkpoints beside their places, too


@pytest.mark.parametrize("asking", [{"compact": True}, {"fence": ("query", 1)}], ids=["files", "fence"])
def test_a_thread_of_its_own_commits_to_a_table_whose_newest_checkpoint_another_program_has_written(
    asking: dict[str, Any], spark: SparkSession, tmp_path: Path
) -> None:
    """A run ended when a stream counted the files of such a table: Delta looks for a session in the very thread."""
    lake = Lake(spark, str(tmp_path))
    lake.create(LEDGER_GAPS)
    arrow_tables.append(lake.root, LEDGER_GAPS, rows_of("deltalake", 1), batch_id="deltalake:1")
    DeltaTable(lake.path(LEDGER_GAPS)).create_checkpoint()
    rows = spark.createDataFrame([list(row.values()) for row in rows_of("worker", 1)], LEDGER_GAPS.schema)
    with ThreadPoolExecutor(1) as pool:
        committing = partial(transactions.append, spark, lake.path(LEDGER_GAPS), rows, note="worker", **asking)
        assert pool.submit(committing).result()
        assert pool.submit(spark.getActiveSession).result() is None  # as it was
    assert DeltaTable(lake.path(LEDGER_GAPS)).history(1)[0]["userMetadata"] == "worker"


def without_the_first(rows: DataFrame) -> DataFrame:
    return rows.where("batch_id <> 'first:0'")


def rewrite(lake: Lake, anew: Change, right_before: Callable[[], object]) -> int:
    def first(rows: DataFrame) -> DataFrame:
        return rows.where("batch_id = 'first:0'")

    path = lake.path(LEDGER_GAPS)
    return transactions.rewrite(lake.spark, path, first, anew, inserts=False, right_before=right_before, retries=5)


@pytest.fixture
def gaps(spark: SparkSession, tmp_path: Path) -> Lake:
    """A table of rows that two batches have written."""
    lake = Lake(spark, str(tmp_path))
    lake.create(LEDGER_GAPS)
    for name in ("first", "second"):
        append(lake, name)
    return lake


def append(lake: Lake, name: str) -> None:
    arrow_tables.append(lake.root, LEDGER_GAPS, rows_of(name, 0), batch_id=f"{name}:0")


def test_a_rewrite_beside_appends_writes_its_files_once_and_loses_no_row_of_them(
    gaps: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Maintenance beside a stream wrote a table 21 times and gave up: each append had refused its commit."""
    commit, written, tried = transactions._commit, list[DataFrame](), itertools.count()  # noqa: SLF001

    def beaten(*arguments: Any) -> None:
        if (number := next(tried)) < 3:
            append(gaps, f"beside-{number}")  # in the moment of the commit
        commit(*arguments)

    def anew(rows: DataFrame) -> DataFrame:
        written.append(rows)
        append(gaps, "meanwhile")
        return without_the_first(rows)

    monkeypatch.setattr(transactions, "_commit", beaten)
    assert rewrite(gaps, anew, lambda: None) == 1
    assert (len(written), next(tried)) == (1, 4)
    batches = arrow_tables.read(gaps.root, LEDGER_GAPS)["batch_id"].to_pylist()
    assert sorted(batches) == ["beside-0:0", "beside-1:0", "beside-2:0", "meanwhile:0", "second:0"]


def test_rows_made_of_the_table_itself_are_appended_beside_other_appends(
    gaps: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """erase_user ended in a trace: it notes places that are not noted yet, while ingest noted others."""
    commit = transactions._commit  # noqa: SLF001

    def beaten(*arguments: Any) -> None:
        append(gaps, "beside")
        commit(*arguments)

    monkeypatch.setattr(transactions, "_commit", beaten)
    rows = gaps.read(LEDGER_GAPS)
    more = without_the_first(rows).withColumn("batch_id", F.lit("more:0"))
    gaps.append(
        more.join(rows.select("batch_id"), "batch_id", "left_anti").select(rows.columns), LEDGER_GAPS, batch_id="more:0"
    )
    batches = arrow_tables.read(gaps.root, LEDGER_GAPS)["batch_id"].to_pylist()
    assert sorted(batches) == ["beside:0", "first:0", "more:0", "second:0"]


def test_rows_of_other_types_than_the_tables_are_refused(gaps: Lake) -> None:
    rows = gaps.read(LEDGER_GAPS).withColumn("first", F.col("first").cast("int"))
    with pytest.raises(SchemaError, match="found first of type int in the rows, needed: bigint"):
        gaps.append(rows, LEDGER_GAPS, batch_id="x:0")


@pytest.mark.parametrize("last", ["join", "delete", "add a column"])
def test_a_rewrite_of_files_that_another_commit_has_removed_is_refused(gaps: Lake, last: str) -> None:
    table = DeltaTable(gaps.path(LEDGER_GAPS))
    by_others = {
        "join": table.optimize.compact,
        "delete": lambda: table.delete("batch_id = 'first:0'"),
        "add a column": lambda: table.alter.add_columns(Field("more", PrimitiveType("string"))),
    }
    with pytest.raises(ConcurrentDeleteReadException, match="in the place of those read"):
        rewrite(gaps, without_the_first, by_others[last])
    left = arrow_tables.read(gaps.root, LEDGER_GAPS)["batch_id"].to_pylist()
    assert sorted(left) == (["second:0"] if last == "delete" else ["first:0", "second:0"])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_writers_that_are_killed_now_and_then_lose_nothing_that_they_told(tmp_path: Path) -> None:
    rounds, done = int(os.environ.get("BEHAVIOR_TEST_KILLS", "4")), []
    for number in range(rounds):
        with writers(str(tmp_path), 10_000, f"round-{number}") as all_three:
            for victim in random.sample(all_three, len(all_three)):
                victim.wait_for(len(victim.told) + random.randint(5, 20))
                victim.kill()
            done += all_three
        check(DeltaTable(tmp_path / LEDGER_GAPS.name), *done)
