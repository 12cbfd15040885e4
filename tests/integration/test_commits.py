"""Any number of processes write one table: a commit that was told is in the log, once, its rows are in the table."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from py4j.java_gateway import JavaGateway  # type: ignore[import-untyped]
from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]

from features.tables import LEDGER_GAPS
from jobs.runtime import log_stores
from jobs.runtime.java import java_program
from tests.integration.conftest import PROJECT
from tests.integration.table_writers import rows_of
from tools import bootstrap

pytestmark = pytest.mark.integration


class Writer:
    """One of :mod:`tests.integration.table_writers`; it has a process group of its own, to be killed with its Java."""

    def __init__(self, kind: str, root: Path, name: str, count: int) -> None:
        self.kind, self.root, self.name, self.count = kind, root, name, count
        command = [sys.executable, "-m", "tests.integration.table_writers", kind, str(root), name, str(count)]
        self.process = subprocess.Popen(
            command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
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
def writers(root: Path, kinds: list[str], count: int, name: str = "writer") -> Iterator[list[Writer]]:
    """Writers that all begin at the same moment."""
    with ExitStack() as stack:
        started = [Writer(kind, root, f"{name}-{number}", count) for number, kind in enumerate(kinds)]
        for writer in started:
            stack.callback(writer.stop)
        assert all(writer.is_ready() for writer in started)
        for writer in started:
            writer.begin()
        yield started


def log_of(root: Path) -> Counter[str]:
    """How often each batch stands in the table's log."""
    found: Counter[str] = Counter()
    for commit in (root / LEDGER_GAPS.name / "_delta_log").glob("*[0-9].json"):
        for line in commit.read_text(encoding="utf-8").splitlines():
            if (batch := json.loads(line).get("commitInfo", {}).get("userMetadata")) is not None:
                found[batch] += 1
    return found


def check(root: Path, *done: Writer) -> None:
    told = {f"{writer.name}:{number}" for writer in done for number in writer.told}
    log = log_of(root)
    assert told <= set(log), "told as written, and not in the log"
    assert set(log.values()) == {1}
    rows = Counter(DeltaTable(root / LEDGER_GAPS.name).to_pyarrow_table(columns=["batch_id"])["batch_id"].to_pylist())
    assert rows == {batch: len(rows_of(*_split(batch))) for batch in log}


def _split(batch: str) -> tuple[str, int]:
    name, number = batch.rsplit(":", 1)
    return name, int(number)


VERSIONS = 400


def test_of_java_processes_that_put_one_commit_only_one_is_told_that_it_has(tmp_path: Path) -> None:
    with ExitStack() as stack:
        jvms = [stack.enter_context(_java()) for _ in range(3)]
        together = threading.Barrier(len(jvms))
        with ThreadPoolExecutor(len(jvms)) as pool:
            told = list(pool.map(lambda one: _put_all(one[1], f"writer-{one[0]}", tmp_path, together), enumerate(jvms)))
    for version in range(VERSIONS):
        winners = [f"writer-{number}" for number, versions in enumerate(told) if version in versions]
        assert winners == [_commit(tmp_path, version).read_text(encoding="utf-8").strip()]
    assert len(list(tmp_path.iterdir())) == VERSIONS, "drafts are left"


def _put_all(jvm: Any, name: str, folder: Path, together: threading.Barrier) -> set[int]:
    """The versions that a process was told to have written."""
    conf, store = jvm.org.apache.hadoop.conf.Configuration(), jvm
    for part in log_stores.LOG_STORES["file"].split("."):
        store = getattr(store, part)
    store, told = store(conf), set()
    for version in range(VERSIONS):
        actions = jvm.java.util.ArrayList()
        actions.add(name)
        path = jvm.org.apache.hadoop.fs.Path(_commit(folder, version).as_uri())
        together.wait(60)
        try:
            store.write(path, actions.iterator(), False, conf)
        except Py4JJavaError as refused:
            assert "FileAlreadyExistsException" in refused.java_exception.getClass().getName()  # noqa: PT017
        else:
            told.add(version)
    return told


def _commit(folder: Path, version: int) -> Path:
    return folder / f"{version:020d}.json"


@contextmanager
def _java() -> Iterator[Any]:
    """A Java of its own with Delta and Hadoop, without a Spark."""
    project = bootstrap.Project(PROJECT)
    shipped = bootstrap.ivy_jar(project).parent
    jars = [*sorted((project.jars / "spark").glob("*.jar")), *sorted(shipped.glob("*.jar"))]
    gateway = JavaGateway.launch_gateway(
        jarpath=str(next(shipped.glob("py4j-*.jar"))),
        classpath=":".join(map(str, jars)),
        java_path=java_program(),
        die_on_exit=True,
    )
    try:
        yield gateway.jvm
    finally:
        gateway.shutdown()


def test_two_sparks_and_deltalake_write_one_table_and_nothing_told_is_lost(tmp_path: Path) -> None:
    with writers(tmp_path, ["spark", "workers", "deltalake"], 25) as all_three:
        for writer in all_three:
            writer.end()
        assert [len(writer.told) for writer in all_three] == [25, 25, 25]
        check(tmp_path, *all_three)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_writers_that_are_killed_now_and_then_lose_nothing_that_they_told(tmp_path: Path) -> None:
    rounds, done = int(os.environ.get("BEHAVIOR_TEST_KILLS", "4")), []
    for number in range(rounds):
        kinds = ["spark", "workers", "deltalake"]
        with writers(tmp_path, kinds, 10_000, f"round-{number}") as all_three:
            for victim in random.sample(all_three, len(all_three)):
                victim.wait_for(len(victim.told) + random.randint(5, 20))
                victim.kill()
            done += all_three
        check(tmp_path, *done)
