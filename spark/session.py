"""The Spark session, from settings."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import psutil
from pyspark.errors import PySparkRuntimeError
from pyspark.sql import SparkSession

from features.errors import EnvironmentProblem
from lake import log_stores, object_store
from settings import PROJECT, Settings, SparkSettings
from spark import class_data, scratch
from spark.java import NEEDED, java_program

DELTA = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
}

ENGINE = {
    # Times are UTC everywhere; a cluster's own zone must not shift a minute.
    "spark.sql.session.timeZone": "UTC",
    # One shuffle by user serves every later grouping and join of the feature function.
    "spark.sql.requireAllClusterKeysForCoPartition": "false",
    # Micro-batches are small and alike: planning them anew at run time costs more than it gains.
    "spark.sql.adaptive.enabled": "false",
    # A round of micro-batches uses more generated classes than the 100 that are kept by default: each would be
    # compiled, and warmed up by Java, anew every time.
    "spark.sql.codegen.cache.maxEntries": "2000",
    "spark.sql.streaming.metricsEnabled": "true",
    # A stream that has nothing to do looks again after so long; by default 100 times a second, each listing a log.
    "spark.sql.streaming.pollingDelay": "250ms",
    # Tables that are read back at every micro-batch (features.tables: looked_up): so many files smaller than half of
    # so many bytes are joined by the append that finds them.
    "spark.databricks.delta.autoCompact.minNumFiles": "50",
    "spark.databricks.delta.autoCompact.maxFileSize": "33554432",
    # What a micro-batch caches is read once or twice and dropped: packing it takes longer than it saves.
    "spark.sql.inMemoryColumnarStorage.compressed": "false",
    # Whole numbers in place of Parquet's old form of twelve bytes, which Spark still writes by itself: they are cheaper
    # to write, and have the statistics by which a read skips parts of a file.
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    # A task reads whole row groups. Folded tiles are so small that a day of a million users was one group by default,
    # 128 MB, and one core read it while the others waited.
    "spark.hadoop.parquet.block.size": "8388608",
    # A row group has the names of many people. By default their dictionary is given up at 1 MB, and who looks for one
    # has to read a name in every row.
    "spark.hadoop.parquet.dictionary.page.size": "8388608",
    # Columns whose values are all different: a dictionary is begun for each file, and given up.
    **{
        f"spark.hadoop.parquet.enable.dictionary#{name}": "false" for name in ("raw", "offset", "event_id", "event_key")
    },
}

LOCAL = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.sql.files.openCostInBytes": "1048576",
    # Hadoop's FileContext asks the program readlink about every file that is renamed, sixty times a second in a live
    # run; its FileSystem renames by itself. Both refuse a file that is there, by the same look before.
    "spark.sql.streaming.checkpointFileManagerClass": (
        "org.apache.spark.sql.execution.streaming.checkpointing.FileSystemBasedCheckpointFileManager"
    ),
    # Delta's VACUUM lists folders in so many tasks; by default 10,000, for minutes.
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "4",
}


def spark_session(settings: Settings, logs: Path | None = None) -> SparkSession:
    """The session of this process; made on first call. ``logs`` is the folder Spark's own log goes to.

    Raises:
        EnvironmentProblem: the connector jars are not where ``spark.jars`` says, or those for S3 are missing, or
            Java did not start.
    """
    spark = settings.spark
    place: Path | None = None
    conf = {
        **DELTA,
        **ENGINE,
        "spark.sql.shuffle.partitions": str(spark.shuffle_partitions),
        "spark.databricks.delta.snapshotPartitions": str(settings.storage.snapshot_partitions),
        **object_store.spark_conf(settings),
        **log_stores.spark_conf(settings.storage),
    }
    if spark.master and spark.master.startswith("local"):
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        # Else Spark looks up this machine's own name, and ends where no name server and no /etc/hosts knows it.
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        conf |= LOCAL
        if SparkSession.getActiveSession() is None:
            place = scratch.take(settings)
    if spark.driver_memory:
        conf["spark.driver.memory"] = spark.driver_memory
    conf |= java_conf(spark, logs, place)
    builder = SparkSession.builder.appName(spark.app_name)
    if spark.master:
        builder = builder.master(spark.master)
    for key, value in (conf | spark.conf).items():
        builder = builder.config(key, value)
    session = started(builder)
    log_stores.check(session, settings.storage)
    return session


def java_conf(spark: SparkSettings, logs: Path | None, place: Path | None) -> dict[str, str]:
    """What the driver's Java is given: the connectors' jars, options, and the folder for its temporary files."""
    conf: dict[str, str] = {}
    options = [spark.java_options] if spark.java_options else []
    if spark.jars:
        jars = connector_jars(spark.jars)
        if place is not None and is_ours_to_start():
            # On the class path from the start: nothing is copied, and their classes can come from the archive.
            conf["spark.driver.extraClassPath"] = os.pathsep.join(jars)
            options = [*class_data.options(jars), *options]
        else:
            conf["spark.jars"] = ",".join(jars)
    # In quotes: a folder's name may have blanks in it.
    if logs:
        logs.mkdir(parents=True, exist_ok=True)
        log4j = (PROJECT / "conf" / "log4j2.properties").as_uri()
        options += [f'"-Dlog4j2.configurationFile={log4j}"', f'"-Dbehavior.logs={logs.resolve()}"']
    if place is not None:
        options.append(f'"-Djava.io.tmpdir={place}"')  # which is Spark's own folder, too, where no other is named
        if not is_ours_to_start():
            conf["spark.local.dir"] = str(place)
    if options:
        conf["spark.driver.extraJavaOptions"] = " ".join(options)
    return conf


def is_ours_to_start() -> bool:
    """Whether this process starts Spark's Java, with the options it chooses; spark-submit has started it already."""
    return "PYSPARK_GATEWAY_PORT" not in os.environ


def started(builder: SparkSession.Builder) -> SparkSession:
    """The session; when Java does not come up, its problem in a sentence."""
    try:
        return builder.getOrCreate()
    except KeyboardInterrupt:
        end_half_started()
        raise
    except PySparkRuntimeError as error:
        if error.getCondition() != "JAVA_GATEWAY_EXITED":
            raise
        raise java_problem() from None


def java_problem() -> EnvironmentProblem:
    """Which Java Spark has tried, and what it needs."""
    try:
        java = java_program()
    except EnvironmentProblem as problem:
        return problem
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    version = next(iter((said.stderr or said.stdout).splitlines()), "nothing")
    return EnvironmentProblem(f"Java did not start; what it said is above. {java} calls itself {version}. {NEEDED}")


def end_half_started() -> None:
    """End the Spark that this process is starting: by itself it would go on, and fail with a trace in the terminal."""
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if any("SparkSubmit" in word or "spark-submit" in word for word in child.cmdline()):
                child.kill()


def connector_jars(folder: str) -> list[str]:
    """The jars in ``folder`` (relative to the project)."""
    jars = sorted(str(path) for path in (PROJECT / folder).glob("*.jar"))
    if not jars:
        raise EnvironmentProblem(
            f"No connector jars in {PROJECT / folder}. Run `make run` or `make test` once: they fetch them."
        )
    return jars
