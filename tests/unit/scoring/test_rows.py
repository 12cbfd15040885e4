"""Rows scored in Arrow are scored as the pandas UDF scores them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from features.tables import BATCH, SCORES, SHADOW_SCORES
from lake.schemas import arrow_schema
from scoring.arrays import Rules
from scoring.champion import LoadedModel
from scoring.frames import SHADOW, score, scorer_of, shadow_rows
from scoring.rows import RowScorer
from tests.unit.scoring.test_scoring import FLOOD, RULES, START, spark_rows
from tests.unit.training.samples import bot_row, feature_rows, small_champion, small_model
from training.model import PRESETS

WITHOUT_REASONS = Rules(RULES.min_session_events, 0)
STAMPS = [field.name for field in BATCH]


def ready(model: LoadedModel, rules: Rules = RULES) -> RowScorer:
    return RowScorer(model.name, model.version, model.model.feature_version, scorer_of(model, rules))


def some_rows(spark: SparkSession) -> pa.Table:
    """Ordinary and strange ones, some of which lack values, have few events, or are of another version."""
    rows = pd.concat([feature_rows(60), bot_row(**FLOOD), bot_row(**FLOOD | {"session_events": 4.0})])
    rows.iloc[::7, 3] = np.nan
    version = F.when(F.minute("window_start") % 5 == 0, "0").otherwise(F.col("feature_version"))
    return spark_rows(spark, rows).withColumn("feature_version", version).orderBy("window_start").toArrow()


@pytest.mark.parametrize("preset", PRESETS)
def test_arrow_and_the_udf_say_the_same_of_the_same_rows(spark: SparkSession, preset: str) -> None:
    champion, rows = small_champion(preset), some_rows(spark)
    udf = score(spark.createDataFrame(rows), champion, RULES).orderBy("window_start").toArrow()
    ours = ready(champion).scores(rows, START)
    assert ours.column_names == [name for name in SCORES.columns if name not in STAMPS]
    for name in ours.column_names:
        if name != "scored_at":
            assert ours[name].to_pylist() == udf[name].to_pylist(), name
    assert {"normal", "anomaly", "insufficient_data"} == set(ours["verdict"].to_pylist())
    stamped = ours.append_column("batch_time", ours["scored_at"]).append_column("batch_id", ours["user_id"])
    assert stamped.cast(arrow_schema(SCORES)).num_rows == rows.num_rows


def test_a_challenger_says_the_same_beside_and_fails_alone(spark: SparkSession) -> None:
    champion, challenger, rows = small_champion(), replace(small_champion("plain"), version="2"), some_rows(spark)
    udf = shadow_rows(score(spark.createDataFrame(rows), champion, RULES, challenger).orderBy("window_start")).toArrow()
    scores = ready(champion).scores(rows, START)
    beside = ready(challenger, WITHOUT_REASONS).beside(rows, scores)
    assert SHADOW not in beside.column_names == [name for name in SHADOW_SCORES.columns if name not in STAMPS]
    assert beside.to_pydict() == udf.to_pydict()

    broken = replace(
        champion, version="3", forest=None, model=replace(small_model(), feature_names=("clicks_per_minute",))
    )
    failed = ready(broken, WITHOUT_REASONS).beside(rows, scores)
    assert set(failed["verdict"].to_pylist()) == {"failed"}
    assert failed["anomaly_score"].null_count == rows.num_rows
    with pytest.raises(ValueError, match=r".+"):
        ready(broken).scores(rows, START)
