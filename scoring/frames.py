"""Feature rows to scored rows, by a pandas UDF, and the same without Spark.

The row stays in the JVM: the UDF gets the model's numbers as doubles and gives back score, percentile and (for flagged
rows only) reasons. No text and no time goes in, so dates pandas cannot hold pass by untouched. The model goes to the
workers once by broadcast; each worker prepares it once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
from pyspark import Broadcast
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.functions import pandas_udf
from pyspark.sql.types import ArrayType, BooleanType, DoubleType, StructField, StructType

from features.columns import by_reference
from features.errors import SchemaError
from features.tables import FEATURE_ROW, REASON, SHADOW_SCORES
from scoring.arrays import ANOMALY, FAILED, INSUFFICIENT, NORMAL, SESSION_EVENTS, RowScores, Rules, Scorer, inputs_of
from scoring.champion import LoadedModel
from scoring.thresholds import Floats

SCORED = StructType(
    [
        StructField("anomaly_score", DoubleType()),
        StructField("anomaly_percentile", DoubleType()),
        StructField("reasons", ArrayType(REASON)),
        StructField("failed", BooleanType()),
    ]
)


SHADOW = "_shadow"


def score(features: DataFrame, champion: LoadedModel, rules: Rules, challenger: LoadedModel | None = None) -> DataFrame:
    """Score every row of ``features``, stream or batch.

    Takes the columns of :data:`features.tables.FEATURE_ROW`; gives those of the ``scores`` table without the batch's,
    in its order, then whatever other columns came along. A row with too few events, or of another feature version
    than the model's, gets the verdict ``insufficient_data``, no score and no reasons.
    With a ``challenger`` a last column holds its scores, for :func:`shadow_rows`; one pass serves both.
    Raises SchemaError when a column is missing.
    """
    names = [field.name for field in FEATURE_ROW]
    missing = [name for name in names if name not in features.columns]
    if missing:
        raise SchemaError(f"The features lack {', '.join(missing)}; they have {', '.join(features.columns)}.")
    scores = {"_scores": _scores(features.sparkSession, champion, rules)}
    if challenger is not None:
        without_reasons = Rules(rules.min_session_events, max_reasons=0)
        scores["_challenged"] = _scores(features.sparkSession, challenger, without_reasons, may_fail=True)
    scored = features.withColumns(scores)
    row_scores = F.col("_scores")
    new = {
        "anomaly_score": row_scores["anomaly_score"],
        "anomaly_percentile": row_scores["anomaly_percentile"],
        "verdict": _verdict(row_scores["anomaly_score"], champion.threshold),
        "reasons": row_scores["reasons"],
        "model_name": F.lit(champion.name),
        "model_version": F.lit(champion.version),
        "threshold": F.lit(champion.threshold),
        "scored_at": by_reference(F.current_timestamp(), F.length("user_id")),
    }
    others = [name for name in features.columns if name not in names and name not in new]
    shadow = [] if challenger is None else [_shadow(challenger).alias(SHADOW)]
    return scored.select(*names, *(column.alias(name) for name, column in new.items()), *others, *shadow)


def shadow_rows(scored: DataFrame) -> DataFrame:
    """The rows of table ``shadow_scores``, without the batch's columns, of rows scored with a challenger."""
    of_row = {
        "user_id": F.col("user_id"),
        "window_start": F.col("window_start"),
        "champion_version": F.col("model_version"),
        "champion_score": F.col("anomaly_score"),
        "champion_verdict": F.col("verdict"),
    }
    names = [name for name in SHADOW_SCORES.columns if name not in ("batch_time", "batch_id")]
    return scored.select(*[of_row.get(name, F.col(SHADOW)[name]).alias(name) for name in names])


def _shadow(challenger: LoadedModel) -> Column:
    row_scores = F.col("_challenged")
    verdict = F.when(row_scores["failed"], FAILED).otherwise(
        _verdict(row_scores["anomaly_score"], challenger.threshold)
    )
    return F.struct(
        F.lit(challenger.version).alias("model_version"),
        row_scores["anomaly_score"].alias("anomaly_score"),
        row_scores["anomaly_percentile"].alias("anomaly_percentile"),
        verdict.alias("verdict"),
        F.lit(challenger.threshold).alias("threshold"),
    )


def score_frame(features: pd.DataFrame, champion: LoadedModel, rules: Rules) -> pd.DataFrame:
    """Score rows without Spark, with the same numbers; the result has the index of ``features``.

    Columns that are missing or null are taken as typical; a row without ``session_events`` is taken to have enough.
    Gives anomaly_score, anomaly_percentile, verdict, reasons, model_name, model_version and threshold.
    """
    scorer = scorer_of(champion, rules)
    columns = {name: _doubles(features, name) for name in inputs_of(scorer.names)}
    events = columns[SESSION_EVENTS]
    row_scores = scorer.score(columns, can_be_scored=np.isnan(events) | (events >= rules.min_session_events))
    verdicts = np.where(row_scores.scores >= champion.threshold, ANOMALY, NORMAL)
    return pd.DataFrame(
        {
            "anomaly_score": row_scores.scores,
            "anomaly_percentile": row_scores.percentiles,
            "verdict": np.where(np.isnan(row_scores.scores), INSUFFICIENT, verdicts),
            "reasons": pd.Series(row_scores.reasons, index=features.index, dtype=object),
            "model_name": champion.name,
            "model_version": champion.version,
            "threshold": champion.threshold,
        },
        index=features.index,
    )


def scorer_of(champion: LoadedModel, rules: Rules) -> Scorer:
    """What scores rows by a champion, ready to be sent to workers."""
    fallback = champion.score if champion.forest is None else None
    names, reference = champion.model.feature_names, champion.reference
    return Scorer(names, reference, champion.threshold, rules, champion.forest, fallback)


def scored_frame(scorer: Scorer, numbers: dict[str, Floats], *, may_fail: bool) -> pd.DataFrame:
    """Scored rows with the columns of :data:`SCORED`; where it ``may_fail``, an error marks all of them instead."""
    rows, failed = len(numbers[SESSION_EVENTS]), False
    try:
        row_scores = scorer.score(numbers)
    except Exception:
        if not may_fail:
            raise
        nothing, failed = np.full(rows, np.nan), True
        row_scores = RowScores(nothing, nothing, [None] * rows)
    return pd.DataFrame(
        {
            "anomaly_score": row_scores.scores,
            "anomaly_percentile": row_scores.percentiles,
            "reasons": pd.Series(row_scores.reasons, dtype=object),
            "failed": np.full(rows, failed),
        }
    )


def _verdict(score: Column, threshold: float) -> Column:
    return F.when(score.isNull(), INSUFFICIENT).when(score >= threshold, ANOMALY).otherwise(NORMAL)


def _scores(spark: SparkSession, champion: LoadedModel, rules: Rules, *, may_fail: bool = False) -> Column:
    """The UDF's column: a struct of score, percentile and reasons; ``failed`` where the model ``may_fail`` and did."""
    names, shared = inputs_of(champion.model.feature_names), _shared(spark, champion, rules)

    def score_rows(*columns: pd.Series) -> pd.DataFrame:
        numbers = {name: np.asarray(column, np.float64) for name, column in zip(names, columns, strict=True)}
        return scored_frame(shared.value, numbers, may_fail=may_fail)

    numbers = {name: F.col(name).cast("double") for name in names}
    same_version = F.col("feature_version") == champion.model.feature_version
    numbers[SESSION_EVENTS] = F.when(same_version, numbers[SESSION_EVENTS])
    make = cast("Callable[[object, StructType], Callable[..., Column]]", pandas_udf)  # its types know no type hints
    return make(score_rows, SCORED)(*numbers.values())


def _doubles(frame: pd.DataFrame, name: str) -> Floats:
    if name not in frame.columns:
        return np.full(len(frame), np.nan)
    return np.asarray(pd.to_numeric(frame[name]), np.float64)


_SHARED: WeakKeyDictionary[LoadedModel, dict[tuple[str, Rules], Broadcast[Scorer]]] = WeakKeyDictionary()


def _shared(spark: SparkSession, champion: LoadedModel, rules: Rules) -> Broadcast[Scorer]:
    """The scorer as a broadcast of this Spark application: sent once, not at every micro-batch."""
    of_champion = _SHARED.setdefault(champion, {})
    key = (spark.sparkContext.applicationId, rules)
    if key not in of_champion:
        of_champion[key] = spark.sparkContext.broadcast(scorer_of(champion, rules))
    return of_champion[key]
