from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from features.definitions import FEATURE_NAMES, FEATURE_VERSION
from features.errors import ModelError
from features.tables import FEATURE_ROW
from training.dataset import MIN_CAP, TrainingSample, training_rows

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
COLUMNS = StructType(FEATURE_ROW)


def feature_table(spark: SparkSession, minutes: dict[str, int], **given: Column) -> DataFrame:
    """So many minutes for each user, one session each; ``given`` replaces columns."""
    per_user = spark.createDataFrame(list(minutes.items()), "user_id string, minutes int")
    rows = per_user.select("user_id", F.explode(F.sequence(F.lit(0), F.col("minutes") - 1)).alias("minute"))
    made: dict[str, Column] = {
        "window_start": F.lit(START) + F.make_interval(mins=F.col("minute")),
        "session_start": F.lit(START),
        "session_is_split": F.lit(False),
        **dict.fromkeys(FEATURE_NAMES, F.col("minute").cast("double")),
        "session_events": F.lit(9.0),
        "last_received_at": F.lit(START),
        "feature_version": F.lit(FEATURE_VERSION),
        **given,
    }
    return rows.withColumns(made).select(COLUMNS.fieldNames())


def take(features: DataFrame, most: int = 100_000, seed: int = 1, excluded: DataFrame | None = None) -> TrainingSample:
    return training_rows(features, least=5, most=most, seed=seed, excluded=excluded)


def test_every_row_that_can_be_judged_is_taken_when_there_is_room(spark: SparkSession) -> None:
    taken = take(feature_table(spark, {"a": 3, "b": 2}))
    assert (taken.seen, taken.scorable, taken.users, taken.capped_users, len(taken.rows)) == (5, 5, 2, 0, 5)
    assert (taken.first, taken.last) == (START, START + timedelta(minutes=2))
    assert taken.days == pytest.approx(3 / 1440)
    assert sorted(taken.rows["clicks_per_minute"]) == [0, 0, 1, 1, 2]
    assert taken.rows["weight"].tolist() == taken.rows["session_weight"].tolist() == [1.0] * 5


def test_rows_with_too_few_events_or_of_another_feature_version_are_left_out(spark: SparkSession) -> None:
    few = feature_table(spark, {"few": 2}, session_events=F.lit(4.0))
    old = feature_table(spark, {"old": 3}, feature_version=F.lit("0"))
    taken = take(feature_table(spark, {"a": 1}).union(few).union(old))
    assert (taken.seen, taken.scorable, taken.users, len(taken.rows)) == (6, 1, 1, 1)


def test_what_feedback_confirmed_as_anomalous_is_left_out(spark: SparkSession) -> None:
    confirmed = spark.createDataFrame(
        [
            ("bot", START + timedelta(minutes=2), START + timedelta(minutes=4)),
            ("bot", START, START + timedelta(minutes=2)),
        ],
        "user_id string, first_window_start timestamp, last_window_start timestamp",
    )
    taken = take(feature_table(spark, {"bot": 6, "a": 6}), excluded=confirmed)
    assert taken.rows.groupby("user_id").size().sort_values().tolist() == [1, 6]


def test_one_busy_user_cannot_define_normal(spark: SparkSession) -> None:
    taken = take(feature_table(spark, {"bot": 5000, **{f"user {i}": 30 for i in range(30)}}))
    per_user = taken.rows.groupby("user_id").agg(rows=("weight", "size"), stands_for=("weight", "sum"))
    assert taken.capped_users == 1
    assert per_user["rows"].max() < 1.5 * taken.rows_per_user == 1.5 * max(MIN_CAP, 30)
    assert per_user["stands_for"].max() == pytest.approx(5000, rel=0.4)
    assert sorted(per_user["rows"])[:30] == [30] * 30


def test_the_sample_has_exactly_the_rows_asked_for_and_depends_on_keys_and_seed_only(spark: SparkSession) -> None:
    features = feature_table(spark, {f"user {i}": 40 for i in range(25)})
    one, same, other = (
        take(features, 210),
        take(features.repartition(7, "window_start"), 210),
        take(features, 210, seed=2),
    )
    assert len(one.rows) == len(other.rows) == 210
    pd.testing.assert_frame_equal(one.rows, same.rows)
    assert set(one.rows["user_id"]) != set(other.rows["user_id"])
    assert one.rows["weight"].sum() == pytest.approx(1000)
    assert one.parameters() == {
        "rows_available": 1000,
        "rows_used": 210,
        "sampled": "users with more than 60 rows give so many, by a hash of user and minute; "
        + one.describe().rsplit("; ", 1)[1],
    }


def test_sessions_are_drawn_whole_and_stand_for_as_many_as_there_are(spark: SparkSession) -> None:
    """In a part of a session the strangest minute is another one; and alerts per day are counted in sessions."""
    taken = take(feature_table(spark, {f"user {i}": 4 for i in range(500)}), 800)
    sessions = taken.rows.groupby(["user_id", "session_start"])
    assert sessions.size().tolist() == [4] * 200
    assert sessions["session_weight"].first().sum() == pytest.approx(500, rel=0.15)


def test_a_few_long_sessions_leave_no_sample_empty(spark: SparkSession) -> None:
    for seed in range(5):
        assert len(take(feature_table(spark, {"a": 300, "b": 300, "c": 300}), 100, seed).rows) == 100


def test_times_that_pandas_cannot_hold_do_no_harm(spark: SparkSession) -> None:
    far = feature_table(spark, {"a": 2}, session_start=F.lit("9999-01-01T00:00:00Z").cast("timestamp"))
    assert len(take(far).rows) == 2


def test_unknown_features_stay_unknown(spark: SparkSession) -> None:
    taken = take(feature_table(spark, {"a": 2}, own_rate_ratio=F.lit(None).cast("double")))
    assert np.isnan(taken.rows["own_rate_ratio"]).all()


def test_nothing_to_judge_says_what_to_do(spark: SparkSession) -> None:
    with pytest.raises(
        ModelError, match=r"None of 2 feature rows can be judged: sessions need 5 events.*Let more events"
    ):
        take(feature_table(spark, {"a": 2}, session_events=F.lit(1.0)))


def test_no_rows_at_all_say_what_to_do(spark: SparkSession) -> None:
    with pytest.raises(ModelError, match="There are no feature rows to learn from"):
        take(feature_table(spark, {"a": 2}).where("false"))


def test_it_says_in_a_line_what_it_took(spark: SparkSession) -> None:
    taken = take(feature_table(spark, {"a": 3, "b": 2}))
    assert taken.describe() == (
        "5 of 5 judged rows (5 seen) of 2 users, 2026-03-02 09:00 to 2026-03-02 09:02 UTC; "
        "0 busy users give 60 rows each; all user sessions"
    )
    assert taken.counts()["rows_taken"] == 5.0
