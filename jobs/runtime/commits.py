"""Commits of files that workers wrote, through Delta's own transactions: its log store, fence and checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from py4j.java_gateway import JavaClass  # type: ignore[import-untyped]
from pyspark.sql import SparkSession


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
        adds: Delta's ``add`` actions as JSON, of files that are there (:class:`jobs.runtime.table_files.TableFiles`).
        fence: see :meth:`jobs.runtime.lake.Lake.append`.
        compact: whether Delta's auto compaction looks at the table afterwards, as it does after Spark's own appends. By
            itself it joins the first few files after each start, too, whatever their number: it is asked only when
            there can be as many as it needs.

    Returns:
        False where the fence refuses it: that number, or a greater one, is there already.
    """
    jvm: Any = spark.sparkContext._jvm  # noqa: SLF001
    delta, session = jvm.org.apache.spark.sql.delta, spark._jsparkSession  # noqa: SLF001
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
    nothing = jvm.scala.Option.empty()
    written = delta.DeltaOperations.Write(
        jvm.org.apache.spark.sql.SaveMode.Append, nothing, nothing, jvm.scala.Option.apply(note), *[nothing] * 5
    )
    transaction.commit(jvm.org.apache.spark.api.python.PythonUtils.toSeq(actions), written)
    return True
