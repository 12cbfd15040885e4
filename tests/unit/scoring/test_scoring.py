from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructType

from features.definitions import FEATURE_NAMES, FEATURE_VERSION, FEATURES
from features.errors import SchemaError
from features.tables import BATCH, FEATURE_ROW, SCORES
from scoring.arrays import Rules, inputs_of
from scoring.champion import LoadedModel
from scoring.frames import SHADOW, score, score_frame, scored_frame, scorer_of, shadow_rows
from scoring.model import Parameters
from tests.unit.training.samples import bot_row, feature_rows, small_champion, small_model
from training.model import PRESETS, fit
from training.summary import describe

RULES = Rules(min_session_events=5, max_reasons=2)
START = datetime(2026, 3, 2, 9, tzinfo=UTC)
ROW = StructType(FEATURE_ROW)
FLOOD = {feature.name: 1000.0 for feature in FEATURES if feature.heavy_tail}


def known(value: float) -> float | None:
    return None if np.isnan(value) else value


def spark_rows(spark: SparkSession, rows: pd.DataFrame) -> DataFrame:
    """Feature rows as the features table has them, a minute apart."""
    numbers = rows[list(FEATURE_NAMES)].to_numpy(np.float64).tolist()
    records = [
        (f"user {i}", START + timedelta(minutes=i), START, False, *map(known, values), START, FEATURE_VERSION)
        for i, values in enumerate(numbers)
    ]
    return spark.createDataFrame(records, ROW)


def scored(spark: SparkSession, rows: pd.DataFrame, champion: LoadedModel | None = None) -> pd.DataFrame:
    """Scores in the order of ``rows``, with the columns that Spark-free scoring gives."""
    found = score(spark_rows(spark, rows), champion or small_champion(), RULES).orderBy("window_start")
    return found.select("anomaly_score", "anomaly_percentile", "verdict", "reasons").toPandas()


@pytest.mark.parametrize("preset", PRESETS)
def test_the_udf_and_plain_pandas_and_scikit_learn_give_the_same_scores(spark: SparkSession, preset: str) -> None:
    champion, rows = small_champion(preset), feature_rows(200)
    by_spark, by_pandas = scored(spark, rows, champion), score_frame(rows, champion, RULES)
    np.testing.assert_array_equal(by_spark["anomaly_score"], by_pandas["anomaly_score"])
    np.testing.assert_array_equal(by_spark["anomaly_percentile"], by_pandas["anomaly_percentile"])
    assert by_spark["verdict"].tolist() == by_pandas["verdict"].tolist()
    np.testing.assert_allclose(by_spark["anomaly_score"], champion.model.score(rows), atol=1e-9)


def test_the_row_is_carried_and_the_columns_are_those_of_the_table(spark: SparkSession) -> None:
    rows = spark_rows(spark, feature_rows(3)).withColumn("more", F.lit("x"))
    found = score(rows, small_champion(), RULES)
    batch = {field.name for field in BATCH}
    expected = [(field.name, field.dataType) for field in SCORES.schema if field.name not in batch]
    assert [(field.name, field.dataType) for field in found.schema] == [*expected, ("more", StringType())]
    kept = [field.name for field in FEATURE_ROW] + ["more"]
    assert found.select(kept).orderBy("window_start").collect() == rows.orderBy("window_start").collect()


def test_what_cannot_be_judged_has_no_score_and_no_reasons(spark: SparkSession) -> None:
    rows = pd.concat([bot_row(**FLOOD | {"session_events": 4.0}), bot_row(**FLOOD | {"session_events": np.nan})])
    found = scored(spark, rows)
    assert found["verdict"].tolist() == ["insufficient_data"] * 2
    assert found[["anomaly_score", "anomaly_percentile", "reasons"]].isna().all(axis=None)


def test_a_row_of_another_feature_version_is_not_judged(spark: SparkSession) -> None:
    old = spark_rows(spark, bot_row(**FLOOD)).withColumn("feature_version", F.lit("0"))
    assert score(old, small_champion(), RULES).collect()[0]["verdict"] == "insufficient_data"


def test_only_what_is_flagged_has_reasons(spark: SparkSession) -> None:
    found = scored(spark, pd.concat([bot_row(), bot_row(**FLOOD)]))
    assert found["verdict"].tolist() == ["normal", "anomaly"]
    assert found["reasons"][0] is None
    reasons = found["reasons"][1]
    assert len(reasons) == RULES.max_reasons
    assert {r["feature"] for r in reasons} < set(FLOOD)
    assert [r["direction"] for r in reasons] == ["high", "high"]
    assert reasons[0]["contribution"] >= reasons[1]["contribution"] > 0
    assert all("usually" in r["text"] for r in reasons)


def test_reasons_are_the_same_with_and_without_spark(spark: SparkSession) -> None:
    by_spark = scored(spark, bot_row(**FLOOD))["reasons"][0]
    by_pandas = score_frame(bot_row(**FLOOD), small_champion(), RULES)["reasons"].iloc[0]
    assert list(by_spark) == by_pandas


def test_a_row_at_the_threshold_is_an_anomaly(spark: SparkSession) -> None:
    strange = bot_row(active_seconds=60.0, clicks_per_minute=300.0, events_per_minute=300.0, repeat_ratio=1.0)
    at = float(small_champion().model.score(strange)[0])
    champion = score_frame(strange, small_champion(), RULES)["anomaly_score"].iloc[0]
    assert champion == pytest.approx(at)
    exactly = replace(small_champion(), threshold=float(champion))
    assert scored(spark, strange, exactly)["verdict"].tolist() == ["anomaly"]
    assert score_frame(strange, exactly, RULES)["verdict"].tolist() == ["anomaly"]
    assert score_frame(strange, exactly, RULES)["reasons"].iloc[0]


@pytest.mark.parametrize("absurd", [np.inf, -np.inf, 1e308])
def test_absurd_numbers_are_scored(spark: SparkSession, absurd: float) -> None:
    rows = bot_row(clicks_per_minute=absurd, top_page_share=absurd)
    assert scored(spark, rows)["anomaly_score"].between(0, 1).all()


def test_years_that_pandas_cannot_hold_pass_untouched(spark: SparkSession) -> None:
    far = spark_rows(spark, bot_row()).withColumn("session_start", F.lit("9999-01-01T00:00:00Z").cast("timestamp"))
    assert score(far, small_champion(), RULES).where("anomaly_score is not null").count() == 1


def test_an_empty_batch_is_scored_to_nothing(spark: SparkSession) -> None:
    assert score(spark_rows(spark, bot_row()).where("false"), small_champion(), RULES).count() == 0
    assert score_frame(bot_row().head(0), small_champion(), RULES).empty


def test_the_model_is_evaluated_once_per_row(spark: SparkSession, capsys: pytest.CaptureFixture[str]) -> None:
    score(spark_rows(spark, bot_row()), small_champion(), RULES).explain()
    assert capsys.readouterr().out.count("ArrowEvalPython [") == 1


def test_a_missing_column_is_named(spark: SparkSession) -> None:
    with pytest.raises(SchemaError, match="lack active_seconds"):
        score(spark_rows(spark, bot_row()).drop("active_seconds"), small_champion(), RULES)


def test_without_spark_what_is_missing_is_taken_as_typical() -> None:
    few = pd.DataFrame({"clicks_per_minute": [18.0], "pages_per_session": [5.0]}, index=[7])
    found = score_frame(few, small_champion(), RULES)
    unknown = pd.DataFrame(np.nan, index=[0], columns=list(small_champion().model.feature_names))
    row = unknown.assign(clicks_per_minute=18.0, pages_per_session=5.0)
    assert found.index.tolist() == [7]
    assert found["anomaly_score"].iloc[0] == pytest.approx(float(small_champion().model.score(row)[0]))
    assert found["verdict"].iloc[0] in {"normal", "anomaly"}


def test_without_spark_a_session_with_too_few_events_is_not_judged() -> None:
    assert score_frame(bot_row(session_events=1.0), small_champion(), RULES)["verdict"].tolist() == [
        "insufficient_data"
    ]


def test_the_original_designs_model_gives_reasons_of_its_two_features() -> None:
    found = score_frame(bot_row(clicks_per_minute=900.0, pages_per_session=800.0), small_champion("plain"), RULES)
    assert {r["feature"] for r in found["reasons"].iloc[0]} == {"clicks_per_minute", "pages_per_session"}


def test_a_challenger_that_raises_errors_fails_alone(spark: SparkSession) -> None:
    rows, champion = spark_rows(spark, feature_rows(20)), small_champion()
    model = replace(small_model(), feature_names=("clicks_per_minute",))  # the pipeline needs more
    broken = replace(small_champion(version="2"), forest=None, model=model)
    alone = score(rows, champion, RULES).drop("scored_at").orderBy("window_start").collect()
    both = score(rows, champion, RULES, broken)
    assert both.drop("scored_at", SHADOW).orderBy("window_start").collect() == alone
    shadow = shadow_rows(both).select("verdict", "model_version", "champion_version").distinct().collect()
    assert list(map(tuple, shadow)) == [("failed", "2", "1")]


def test_only_where_it_may_fail_a_model_that_raises_errors_is_marked_and_not_raised() -> None:
    rows = feature_rows(20)
    model = replace(small_model(), feature_names=("clicks_per_minute",))  # the pipeline needs more
    broken = replace(small_champion(), forest=None, model=model)
    numbers = {name: rows[name].to_numpy(np.float64) for name in inputs_of(model.feature_names)}
    marked = scored_frame(scorer_of(broken, RULES), numbers, may_fail=True)
    assert marked["failed"].all()
    assert marked["anomaly_score"].isna().all()
    with pytest.raises(ValueError, match=r".+"):
        scored_frame(scorer_of(broken, RULES), numbers, may_fail=False)


def test_constant_behaviour_is_flagged_nowhere() -> None:
    rows = feature_rows(400)
    for name in FEATURE_NAMES:
        rows[name] = float(feature_rows()[name].median())
    model = fit(rows, parameters=Parameters(trees=60, subsample=64, seed=3))
    champion = LoadedModel.of("m", "1", model, describe(model, rows, days=2.0))
    assert set(score_frame(rows, champion, RULES)["verdict"]) == {"normal"}
