"""Commits that Delta's statements do not make, through its own transactions: its log store, fence and checkpoints."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote

from delta.exceptions import ConcurrentAppendException, ConcurrentDeleteReadException
from py4j.java_gateway import JavaClass  # type: ignore[import-untyped]
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random

from features.errors import BehaviorError, SchemaError
from lake import log
from lake.hadoop_files import HadoopFolder

Change = Callable[[DataFrame], DataFrame]


def is_open_delta(spark: SparkSession) -> bool:
    """Whether Delta's own classes are there to commit with."""
    jvm: Any = spark.sparkContext._jvm  # noqa: SLF001
    return isinstance(jvm.org.apache.spark.sql.delta.DeltaLog, JavaClass)


def append(
    spark: SparkSession,
    address: str,
    rows: DataFrame,
    *,
    note: str,
    fence: tuple[str, int] | None = None,
    compact: bool = False,
) -> bool:
    """Append ``rows`` to the Delta table at ``address`` in one commit, which keeps ``note`` as its ``userMetadata``.

    Spark's own writer notes what ``rows`` are made of. Where that is the table itself, any append of others since would
    refuse the commit; here it depends on nothing, and the caller knows that what others append changes no row of his.

    Args:
        fence: see :meth:`lake.spark_tables.Lake.append`.
        compact: whether Delta's auto compaction looks at the table afterwards, as it does after Spark's own appends. By
            itself it joins the first few files after each start, too, whatever their number: it is asked only when
            there can be as many as it needs.

    Returns:
        False where the fence refuses it: that number, or a greater one, is there already.

    Raises:
        SchemaError: a column is not of the table's type.
    """
    jvm: Any = spark.sparkContext._jvm  # noqa: SLF001
    delta = jvm.org.apache.spark.sql.delta
    with _active(spark):
        transaction = _begun(spark, address)
        if fence is not None and transaction.txnVersion(fence[0]) >= fence[1]:
            return False
        _require_types(rows, transaction, address)
        actions = _files_of(transaction, rows)
        if compact and transaction.snapshot().numOfFiles() + len(actions) >= many_files(spark):
            transaction.registerPostCommitHook(getattr(getattr(delta.hooks, "AutoCompact$"), "MODULE$"))
        if fence is not None:
            actions.append(delta.actions.SetTransaction(*fence, jvm.scala.Option.empty()))
        _commit(jvm, transaction, actions, "Append", note)
    return True


def many_files(spark: SparkSession) -> int:
    """So many small files of a table are joined by whoever appends to it."""
    return int(spark.conf.get("spark.databricks.delta.autoCompact.minNumFiles", None) or 50)


def _begun(spark: SparkSession, address: str) -> Any:
    # By its whole name: of a dotted one each part is first looked for as a class, in every jar there is.
    delta_log = getattr(spark.sparkContext._jvm, "org.apache.spark.sql.delta.DeltaLog")  # noqa: SLF001
    return delta_log.forTable(spark._jsparkSession, address).startTransaction()  # noqa: SLF001


def _files_of(transaction: Any, rows: DataFrame) -> list[Any]:
    """The ``rows`` in files, which the transaction's commit, or another one, may name."""
    written = transaction.writeFiles(rows._jdf)  # noqa: SLF001
    return [written.apply(number) for number in range(written.size())]


def _require_types(rows: DataFrame, transaction: Any, address: str) -> None:
    """See that ``rows`` have the types of the table's columns: Delta looks at names alone.

    Raises:
        SchemaError: they have not.
    """
    declared = StructType.fromJson(json.loads(transaction.metadata().schemaString()))
    needed = {field.name: field.dataType.simpleString() for field in declared}
    for field in rows.schema:
        if (actual := field.dataType.simpleString()) != needed.get(field.name):
            raise SchemaError(
                f"Table {address}: found {field.name} of type {actual} in the rows, needed: {needed.get(field.name)}. "
                "The table was made by another version: its upgrade notes say how it is brought to this one."
            )


def rewrite(
    spark: SparkSession,
    address: str,
    affected: Change,
    anew: Change,
    *,
    inserts: bool,
    right_before: Callable[[], object],
    retries: int,
) -> int:
    """Write those files anew that have rows of some kind, in one commit that appends hold up but do not refuse.

    Delta's statements fail on any append since they have read, as rows that they should have changed might be among
    what was appended; beside a stream that appends every second they never come to an end. The caller knows that there
    are none. So the files are written first, however long that takes, and a transaction of its own, begun when they are
    there, puts them in the place of the old ones. It can only fail on what comes in the moment that it takes.

    Args:
        affected: of the table's rows, those for the sake of which files are written anew; it keeps all columns.
        anew: the rows to come in the place of all the rows of these files.
        inserts: whether rows may come where no file is affected.
        right_before: called when all is written, before each attempt to commit it.
        retries: how often that is tried again.

    Returns:
        How many rows fewer the table has.

    Raises:
        DeltaConcurrentModificationException: another commit removed some of the files first, or changed the table's
            columns, or there was one at each attempt; nothing was changed.
    """
    jvm: Any = spark.sparkContext._jvm  # noqa: SLF001
    with _active(spark):
        transaction = _begun(spark, address)
        snapshot = transaction.snapshot()
        rows = spark.read.format("delta").option("versionAsOf", snapshot.version()).load(address)
        rows = rows.select("*", F.col("_metadata.file_name").alias(_FILE))
        names = affected(rows).select(_FILE).distinct().collect()
        if not names and not inserts:
            return 0
        listed = ", ".join("'" + row[0].replace("\\", "\\\\").replace("'", "\\'") + "'" for row in names)
        old = list(snapshot.allFiles().filter(f"element_at(split(path, '/'), -1) IN ({listed or 'NULL'})").collect())
        if len(old) != len(names):
            raise BehaviorError(f"Table {address}: {len(names)} files have such rows, and the log names {len(old)}.")
        sequence, nothing = jvm.org.apache.spark.api.python.PythonUtils.toSeq, jvm.scala.Option.empty()
        theirs = DataFrame(transaction.deltaLog().createDataFrame(snapshot, sequence(old), False, nothing), spark)
        new = _files_of(transaction, anew(theirs).select(theirs.columns))
        later = log.CommitFollower(HadoopFolder(spark, address), snapshot.version())
        actions, paths = [*[file.remove() for file in old], *new], {unquote(file.path()) for file in old}

        def put_in_place() -> None:
            right_before()
            _refuse_where_gone(later, paths)  # most of the log is read before the moment that counts
            latest = _begun(spark, address)
            _refuse_where_gone(later, paths, until=latest.snapshot().version())
            _commit(jvm, latest, actions, "Overwrite", None)

        attempts = Retrying(
            retry=retry_if_exception_type(ConcurrentAppendException),
            stop=stop_after_attempt(retries + 1),
            wait=wait_random(0, 0.3),
            reraise=True,
        )
        attempts(put_in_place)
        return _rows(old) - _rows(new)


def _refuse_where_gone(later: log.CommitFollower, files: set[str], until: int | None = None) -> None:
    """See that no commit since has removed one of ``files`` or changed what a row of the table is.

    Raises:
        ConcurrentDeleteReadException: one has.
    """
    for commit in later.poll(until):
        if commit.changes_table or not files.isdisjoint((*commit.removed, *commit.joined)):
            raise ConcurrentDeleteReadException(f"Version {commit.version} has other files in the place of those read.")
    if until is not None and later.version < until:
        raise ConcurrentDeleteReadException(f"Version {later.version + 1} is gone from the log already.")


@contextmanager
def _active(spark: SparkSession) -> Iterator[None]:
    """Make ``spark`` the active session of this thread, which those of Python's pools lack.

    Delta looks for it there, and in some places only now and then: where it reads the state of a table whose newest
    checkpoint another program has written.
    """
    sessions: Any = getattr(spark.sparkContext._jvm, "org.apache.spark.sql.classic.SparkSession")  # noqa: SLF001
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
    user_metadata = nothing if note is None else jvm.scala.Option.apply(note)
    written = jvm.org.apache.spark.sql.delta.DeltaOperations.Write(
        getattr(modes, mode), nothing, nothing, user_metadata, *[nothing] * 5
    )
    transaction.commit(jvm.org.apache.spark.api.python.PythonUtils.toSeq(actions), written)
