"""Which of Delta's log stores puts a commit into a table, so that of two writers of one version one is refused.

Any number of processes write these tables: streams, batch jobs beside them, and deltalake without Spark. Azure, Google
and HDFS refuse a name that exists, and Delta's own stores ask them to. For S3 and for folders of this machine it has
none for several processes (decisions 060, 100), so these have stores of our own, in tools/java.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from py4j.protocol import Py4JError  # type: ignore[import-untyped]

from features.errors import EnvironmentProblem
from lake import hadoop_files, transactions

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from settings import StorageSettings

LOG_STORES = {"file": "behavior.LocalLogStore", "s3a": "behavior.S3LogStore"}
JARS = {
    "file": "behavior-local-log-store.jar of .jars/spark (`make setup` builds it)",
    "s3a": "those of .jars/s3 (`make s3-jars` fetches them)",
}


def spark_conf(storage: StorageSettings) -> dict[str, str]:
    """Delta's settings for the schemes of the tables' and checkpoints' addresses."""
    schemes = {_scheme(place) for place in (storage.root, storage.checkpoints)}
    return {f"spark.delta.logStore.{name}.impl": LOG_STORES[name] for name in sorted(schemes) if name in LOG_STORES}


def check(spark: SparkSession, storage: StorageSettings) -> None:
    """Refuse to go on where Spark lacks the store that its tables need.

    Raises:
        EnvironmentProblem: the store's jar is not on Spark's class path.
    """
    if not transactions.is_open_delta(spark):
        return
    scheme = _scheme(hadoop_files.absolute(spark, storage.root))
    if scheme not in LOG_STORES:
        return
    jvm = spark.sparkContext._jvm  # noqa: SLF001
    assert jvm is not None
    try:
        jvm.java.lang.Thread.currentThread().getContextClassLoader().loadClass(LOG_STORES[scheme])
    except Py4JError:
        raise EnvironmentProblem(
            f"Tables are at {storage.root}, but Spark has no class {LOG_STORES[scheme]}, without which two processes "
            f"could write the same commit: give it the jars it lacks, {JARS[scheme]}, with --jars, or put them "
            "into the jars folder of its installation."
        ) from None


def _scheme(address: str) -> str:
    return address.split(":", 1)[0] if "://" in address or address.startswith("file:") else "file"
