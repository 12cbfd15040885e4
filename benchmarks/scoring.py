"""Scoring throughput, Delta to Delta: the platform's UDF against a copy without it and against MLflow's own.

The same rows of ``features`` in the same Spark session, the contestants in turn, medians of the rounds. "copy" writes
the rows with constant verdicts: what reading and writing cost. "spark_udf" is ``mlflow.pyfunc.spark_udf`` on the same
registered model with the environment of the driver; it gives scores only, no percentile, verdict or reasons.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import mlflow
import pandas as pd
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from benchmarks.report import Table
from features.definitions import FEATURE_VERSION, FEATURES
from features.tables import FEATURE_ROW, FEATURE_TABLE, SCORES
from lake.spark_tables import Lake
from registry.mlflow_registry import Registry
from scoring.arrays import Rules
from scoring.champion import LoadedModel
from scoring.frames import score
from settings import load_settings
from spark.session import spark_session
from training.model import fit
from training.summary import describe

LEARNED_FROM = 20_000
FILES = 8


def run(quick: bool, folder: Path) -> list[Table]:
    """One table: rows per second of each contestant, and as a share of the copy's."""
    rows, rounds = (100_000, 3) if quick else (1_000_000, 5)
    settings = load_settings("local", ["spark.master=local[2]", "spark.driver_memory=2g", "spark.shuffle_partitions=2"])
    spark = spark_session(settings)
    spark.sparkContext.setLogLevel("ERROR")
    try:
        return [_measured(spark, Lake(spark, str(folder / "lake")), folder, rows, rounds)]
    finally:
        spark.stop()


def _measured(spark: SparkSession, lake: Lake, folder: Path, rows: int, rounds: int) -> Table:
    lake.create(FEATURE_TABLE)
    _features(spark, rows).write.format("delta").mode("append").save(lake.path(FEATURE_TABLE))
    champion, uri = _champion(lake, folder)
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    theirs = mlflow.pyfunc.spark_udf(
        spark, f"models:/{champion.name}/{champion.version}", result_type="double", env_manager="local"
    )

    def copied(features: DataFrame) -> DataFrame:
        return _constant(features, champion, F.lit(None).cast("double"))

    def ours(features: DataFrame) -> DataFrame:
        return score(features, champion, Rules())

    def by_mlflow(features: DataFrame) -> DataFrame:
        names = list(champion.model.feature_names)
        return _constant(features, champion, theirs(F.struct(*names)))

    contestants: dict[str, Callable[[DataFrame], DataFrame]] = {
        "copy without a UDF": copied,
        "platform: scores, percentiles, verdicts, reasons": ours,
        "mlflow.pyfunc.spark_udf: scores only": by_mlflow,
    }
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds + 1):
        for place, (name, made) in enumerate(contestants.items()):
            target = str(folder / "out" / f"{turn}-{place}")
            began = time.perf_counter()
            source = lake.read(FEATURE_TABLE).drop("batch_time", "batch_id")
            made(source).write.format("delta").save(target)
            if turn:  # the first one warms up: Java compiles, workers start
                seconds[name].append(time.perf_counter() - began)
    base = median(seconds["copy without a UDF"])
    lines = [
        (name, f"{rows / median(times):,.0f}", f"{base / median(times):.2f}", f"{median(times):.2f}")
        for name, times in seconds.items()
    ]
    return Table(
        title=f"Scoring {rows:,} feature rows, Delta to Delta, medians of {rounds} rounds",
        columns=("contestant", "rows/s", "of the copy", "seconds"),
        rows=tuple(lines),
    )


def _features(spark: SparkSession, rows: int) -> DataFrame:
    """Rows with log-normal values where the tail is heavy, else within 0 to 1."""
    values = {
        feature.name: F.exp(1.0 + 0.7 * F.randn(place)) if feature.heavy_tail else F.rand(place)
        for place, feature in enumerate(FEATURES)
    }
    values["session_events"] = 5.0 + F.floor(40.0 * F.rand(99))
    start = F.timestamp_seconds(F.lit(1_770_000_000) + 60 * F.floor(F.col("id") / 20_000))
    made = {
        **values,
        "user_id": F.concat(F.lit("user "), (F.col("id") % 20_000).cast("string")),
        "window_start": start,
        "session_start": start,
        "session_is_split": F.lit(False),
        "last_received_at": start,
        "feature_version": F.lit(FEATURE_VERSION),
        "batch_time": start,
        "batch_id": F.lit("benchmark:0"),
    }
    drawn = spark.range(0, rows, numPartitions=FILES).withColumns(made)
    return drawn.select(*[F.col(field.name).cast(field.dataType) for field in FEATURE_TABLE.schema])


def _champion(lake: Lake, folder: Path) -> tuple[LoadedModel, str]:
    learned: pd.DataFrame = lake.read(FEATURE_TABLE).limit(LEARNED_FROM).toPandas()
    registry = Registry("benchmark", f"sqlite:///{folder}/mlflow.db")
    model = fit(learned)
    version = registry.log_and_register(model, describe(model, learned, days=1.0), learned.head(500))
    return registry.load(version), registry.tracking_uri


def _constant(features: DataFrame, champion: LoadedModel, anomaly_score: Column) -> DataFrame:
    """The columns of ``scores`` without the batch's, with this score and nothing else that is worked out."""
    given = {
        "anomaly_score": anomaly_score,
        "verdict": F.lit("normal"),
        "model_name": F.lit(champion.name),
        "model_version": F.lit(champion.version),
        "threshold": F.lit(champion.threshold),
        "scored_at": F.current_timestamp(),
    }
    carried = {field.name for field in FEATURE_ROW}
    return features.select(
        *[
            F.col(field.name)
            if field.name in carried
            else given.get(field.name, F.lit(None)).cast(field.dataType).alias(field.name)
            for field in SCORES.schema
            if field.name not in ("batch_time", "batch_id")
        ]
    )
