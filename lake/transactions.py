"""Commits that Delta's statements do not make, through its own transactions: its log store, fence and checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from py4j.java_gateway import JavaClass  # type: ignore[import-untyped]
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from features.errors import BehaviorError

Change = Callable[[DataFrame], DataFrame]


def is_open_delta(spark: SparkSession) -> bool:
    """Whether Delta's own classes are there to commit with."""
    jvm: Any = spark.sparkContext._jvm  # noqa: SLF001
    return isinstance(jvm.org.apache.spark.sql.delta.DeltaLog, JavaClass)


def commit(
    spark: SparkSession,
    address: str,
    adds: Sequence[str],
    *,
    note: str,
    fence: tuple[str, int] | None = None,
    compact: bool = False,
) -> bool:
    """Append files to the Delta table at ``address`` in one commit, which keeps ``note`` as its ``userMetadata``.

    Args:
        adds: Delta's ``add`` actions as JSON, of files that are there (:class:`lake.worker_files.TableFiles`).
        fence: see :meth:`lake.spark_tables.Lake.append`.
        compact: whether Delta's auto compaction looks at the table afterwards, as it does after Spark's own appends. By
            itself it joins the first few files after each start, too, whatever their number: it is asked only when
            there can be as many as it needs.

    Returns:
        False where the fence refuses it: that number, or a greater one, is there already.
    """
    jvm: Any = spark.sparkContext._jvm  # noqa: SLF001
    delta, session = jvm.org.apache.spark.sql.delta, spark._jsparkSession  # noqa: SLF001
    with _active(spark):
        transaction = delta.DeltaLog.forTable(session, address).startTransaction()
        actions = [delta.actions.Action.fromJson(add) for add in adds]
        if fence is not None:
            name, number = fence
            if transaction.txnVersion(name) >= number:
                return False
            actions.append(delta.actions.SetTransaction(name, number, jvm.scala.Option.empty()))
        needed = int(spark.conf.get("spark.databricks.delta.autoCompact.minNumFiles", None) or 50)
        if compact and transaction.snapshot().numOfFiles() + len(adds) >= needed:
            transaction.registerPostCommitHook(getattr(getattr(delta.hooks, "AutoCompact$"), "MODULE$"))
        _commit(jvm, transaction, actions, "Append", note)
    return True


def rewrite(
    spark: SparkSession,
    address: str,
    concerned: Change,
    anew: Change,
    *,
    inserts: bool,
    right_before: Callable[[], None],
) -> int:
    """Write those files anew that have rows of some kind, in one commit that appends do not refuse.

    Delta's statements fail on any append since they have read, as rows that they should have changed might be among
    what was appended; beside a stream that appends every second they never come to an end. The caller knows that there
    are none. What the commit writes hangs on the files alone that it removes, and Delta refuses it where another one
    has removed one of them.

    Args:
        concerned: of the table's rows, those for the sake of which files are written anew; it keeps all columns.
        anew: the rows to come in the place of all the rows of these files.
        inserts: whether rows may come where no file is concerned.
        right_before: called when all is written and not yet committed.

    Returns:
        How many rows fewer the table has.

    Raises:
        DeltaConcurrentModificationException: another commit removed some of the files first; nothing was changed.
    """
    jvm: Any = spark.sparkContext._jvm  # noqa: SLF001
    with _active(spark):
        log = jvm.org.apache.spark.sql.delta.DeltaLog.forTable(spark._jsparkSession, address)  # noqa: SLF001
        transaction = log.startTransaction()
        snapshot = transaction.snapshot()
        rows = spark.read.format("delta").option("versionAsOf", snapshot.version()).load(address)
        rows = rows.select("*", F.col("_metadata.file_name").alias(_FILE))
        found = concerned(rows).select(_FILE).distinct().collect()
        if not found and not inserts:
            return 0
        named = ", ".join("'" + row[0].replace("\\", "\\\\").replace("'", "\\'") + "'" for row in found)
        old = list(snapshot.allFiles().filter(f"element_at(split(path, '/'), -1) IN ({named or 'NULL'})").collect())
        if len(old) != len(found):
            raise BehaviorError(f"Table {address}: {len(found)} files have such rows, and the log names {len(old)}.")
        sequence, nothing = jvm.org.apache.spark.api.python.PythonUtils.toSeq, jvm.scala.Option.empty()
        theirs = DataFrame(log.createDataFrame(snapshot, sequence(old), False, nothing), spark)
        written = transaction.writeFiles(anew(theirs).select(theirs.columns)._jdf)  # noqa: SLF001
        new = [written.apply(number) for number in range(written.size())]
        right_before()
        _commit(jvm, transaction, [*[file.remove() for file in old], *new], "Overwrite", None)
        return _rows(old) - _rows(new)


@contextmanager
def _active(spark: SparkSession) -> Iterator[None]:
    """Make ``spark`` the active session of this thread, which those of Python's pools lack.

    Delta looks for it there, and in some places only now and then: where it reads the state of a table whose newest
    checkpoint another program has written.
    """
    jvm: Any = spark.sparkContext._jvm  # noqa: SLF001
    sessions = jvm.org.apache.spark.sql.classic.SparkSession
    before = sessions.getActiveSession()
    sessions.setActiveSession(spark._jsparkSession)  # noqa: SLF001
    try:
        yield
    finally:
        if before.isDefined():
            sessions.setActiveSession(before.get())
        else:
            sessions.clearActiveSession()


def _rows(files: Sequence[Any]) -> int:
    """Rows of the files by their statistics; a file without any counts as empty."""
    numbers = [file.numLogicalRecords() for file in files]
    return sum(int(number.get()) for number in numbers if number.isDefined())


_FILE = "file of the row"


def _commit(jvm: Any, transaction: Any, actions: Sequence[Any], mode: str, note: str | None) -> None:
    modes, nothing = jvm.org.apache.spark.sql.SaveMode, jvm.scala.Option.empty()
    told = nothing if note is None else jvm.scala.Option.apply(note)
    written = jvm.org.apache.spark.sql.delta.DeltaOperations.Write(
        getattr(modes, mode), nothing, nothing, told, *[nothing] * 5
    )
    transaction.commit(jvm.org.apache.spark.api.python.PythonUtils.toSeq(actions), written)
