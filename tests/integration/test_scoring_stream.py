"""Laws of score_features on real tables and a real registry: who judges which micro-batch, whatever goes wrong."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming.query import StreamingQuery

from features.definitions import FEATURE_NAMES, FEATURE_VERSION
from features.errors import ModelError
from features.revisions import latest
from features.tables import FEATURE_TABLE, SCORES, SHADOW_SCORES, Table
from jobs import score_features
from lake.spark_tables import Lake
from registry.configured import registry_of
from registry.mlflow_registry import Registry
from scoring.model import Parameters
from settings import Settings, load_settings
from tests.unit.training.samples import SMALL, feature_rows
from training.model import fit
from training.summary import describe

pytestmark = pytest.mark.integration

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ROWS = 40
"""Rows of a commit of features."""
BUILD = "7b1d2c3e-0000-4000-8000-000000000000"
"""The id of build_features."""


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """A registry on sqlite with two good versions and one whose files were changed after it was registered."""
    folder = tmp_path_factory.mktemp("registry")
    registry = Registry("user_behavior_anomaly_model", f"sqlite:///{folder}/mlflow.db", "user_behavior")
    rows = feature_rows()
    for seed in (1, 2, 3):
        model = fit(rows, "default", Parameters(trees=SMALL.trees, subsample=SMALL.subsample, seed=seed))
        registry.log_and_register(model, describe(model, rows, days=2.0, flagged_share=0.05), rows)
    client = MlflowClient(registry.tracking_uri, registry.tracking_uri)
    run = client.get_run(str(client.get_model_version(registry.name, "3").run_id))
    damaged = [file for file in folder.rglob("*.skops") if _is_of(client, registry, file, "3")]
    assert damaged, f"no file of run {run.info.run_id} found"
    damaged[0].write_bytes(damaged[0].read_bytes() + b"x")
    return registry


def _is_of(client: MlflowClient, registry: Registry, file: Path, version: str) -> bool:
    source = str(client.get_model_version(registry.name, version).source).removeprefix("models:/")
    return source in str(file)


def known(value: float) -> float | None:
    return None if np.isnan(value) else value


@dataclass
class Scoring:
    """The job on tables and checkpoints of one test, its features appended as build_features does."""

    spark: SparkSession
    lake: Lake
    settings: Settings
    registry: Registry
    commits: int = field(default=0)

    def arrive(self, rows: pd.DataFrame | None = None, *, nan_is_null: bool = True, minute: int | None = None) -> None:
        """One commit of features, its minutes unlike those of any other where no ``minute`` is named."""
        number, self.commits = self.commits, self.commits + 1
        minute = number if minute is None else minute
        rows = feature_rows(ROWS, seed=number) if rows is None else rows
        values = rows[list(FEATURE_NAMES)].to_numpy(np.float64).tolist()
        written = NOON + timedelta(days=1, seconds=number)
        clean = known if nan_is_null else float
        records = [
            (
                f"user {i}", NOON + timedelta(minutes=minute), NOON, False, *map(clean, found), NOON, FEATURE_VERSION,
                written, f"{BUILD}:{number}",
            )
            for i, found in enumerate(values)
        ]  # fmt: skip
        frame = self.spark.createDataFrame(records, FEATURE_TABLE.schema).coalesce(1)
        self.lake.append(frame, FEATURE_TABLE, batch_id=f"{BUILD}:{number}", ends="{}")

    @contextmanager
    def stream(self) -> Iterator[StreamingQuery]:
        query = score_features.start(self.spark, self.lake, self.settings)
        try:
            yield query
        finally:
            query.stop()

    def once(self) -> None:
        score_features.start(self.spark, self.lake, self.settings, once=True).awaitTermination()

    def read(self, table: Table) -> DataFrame:
        return self.lake.read(table)

    def versions(self) -> list[tuple[int, str, int]]:
        """Micro-batch (counted from the first with rows), version that judged, and rows, in order."""
        number = F.substring_index("batch_id", ":", -1).cast("int").alias("number")
        found = self.read(SCORES).groupBy(number, "model_version").count().orderBy("number", "model_version")
        rows = [tuple(row) for row in found.collect()]
        return [(number - rows[0][0], version, count) for number, version, count in rows]

    def point(self, alias: str, version: str) -> None:
        """Move an alias without the checks of a promotion, as somebody in MLflow's own page would."""
        uri = self.registry.tracking_uri
        MlflowClient(uri, uri).set_registered_model_alias(self.registry.name, alias, version)

    def no_row_is_lost_or_doubled(self) -> bool:
        keys = ["user_id", "window_start"]
        scores, features = self.read(SCORES).select(keys), self.read(FEATURE_TABLE).select(keys)
        return scores.exceptAll(features).isEmpty() and features.exceptAll(scores).isEmpty()


@pytest.fixture
def scoring(spark: SparkSession, shelf: Registry, tmp_path: Path) -> Iterator[Scoring]:
    changes = [
        f"storage.root={tmp_path}/lake",
        f"storage.checkpoints={tmp_path}/checkpoints",
        f"model.tracking_uri={shelf.tracking_uri}",
        "stream.max_files_per_trigger=1",
    ]
    settings = load_settings("local", changes)
    lake = Lake(spark, settings.storage.root)
    lake.create(FEATURE_TABLE, SCORES)
    shelf.promote("1", why="test")
    yield Scoring(spark, lake, settings, shelf)
    uri = shelf.tracking_uri
    for alias in ("champion", "challenger", "previous_champion"):
        MlflowClient(uri, uri).delete_registered_model_alias(shelf.name, alias)


def test_a_promotion_and_a_rollback_take_effect_with_the_next_micro_batch_and_no_row_is_lost_or_doubled(
    scoring: Scoring,
) -> None:
    with scoring.stream() as query:
        for change in (None, lambda: scoring.registry.promote("2", why="better"), scoring.registry.rollback):
            if change is not None:
                change()
            for _ in range(2):
                scoring.arrive()
                query.processAllAvailable()
    assert scoring.versions() == [
        (0, "1", ROWS), (1, "1", ROWS), (2, "2", ROWS), (3, "2", ROWS), (4, "1", ROWS), (5, "1", ROWS)
    ]  # fmt: skip
    assert scoring.no_row_is_lost_or_doubled()


def test_a_kill_between_scoring_and_noting_it_doubles_nothing_even_when_another_version_is_champion_then(
    scoring: Scoring,
) -> None:
    scoring.arrive()
    scoring.arrive()
    scoring.once()
    scoring.registry.promote("2", why="meanwhile")
    commits = Path(scoring.settings.storage.checkpoints, score_features.QUERY, "commits")
    for file in [commits / "1", commits / ".1.crc"]:
        file.unlink(missing_ok=True)
    scoring.arrive()
    scoring.once()
    assert scoring.versions() == [(0, "1", ROWS), (1, "1", ROWS), (2, "2", ROWS)]
    assert scoring.no_row_is_lost_or_doubled()


def test_a_kill_before_the_write_leaves_the_rows_to_the_next_start(
    scoring: Scoring, monkeypatch: pytest.MonkeyPatch
) -> None:
    scoring.arrive()

    def dead(*_: Any, **__: Any) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(Lake, "append", dead)
        query = score_features.start(scoring.spark, scoring.lake, scoring.settings, once=True)
        with pytest.raises(Exception, match="killed"):
            query.awaitTermination()
    assert scoring.versions() == []
    scoring.once()
    assert scoring.versions() == [(0, "1", ROWS)]


def test_without_a_champion_rows_wait_and_all_are_scored_when_there_is_one(scoring: Scoring) -> None:
    uri = scoring.registry.tracking_uri
    MlflowClient(uri, uri).delete_registered_model_alias(scoring.registry.name, "champion")
    scoring.arrive()
    with pytest.raises(ModelError, match=r"No model has the alias 'champion'.*jobs\.train_model"):
        scoring.once()
    scoring.registry.promote("1", why="at last")
    scoring.once()
    assert scoring.versions() == [(0, "1", ROWS)]


def test_a_damaged_champion_is_refused_and_the_last_good_one_goes_on_and_says_so(
    scoring: Scoring, caplog: pytest.LogCaptureFixture
) -> None:
    with scoring.stream() as query, caplog.at_level(logging.WARNING):
        scoring.arrive()
        query.processAllAvailable()
        scoring.point("champion", "3")
        scoring.arrive()
        query.processAllAvailable()
        scoring.point("champion", "2")
        scoring.arrive()
        query.processAllAvailable()
    assert scoring.versions() == [(0, "1", ROWS), (1, "1", ROWS), (2, "2", ROWS)]
    assert any("version 1 goes on" in message for message in caplog.messages)


def test_a_damaged_champion_at_the_start_is_refused_in_a_sentence(scoring: Scoring) -> None:
    scoring.point("champion", "3")
    scoring.arrive()
    with pytest.raises(ModelError, match="version 3"):
        scoring.once()


def test_a_champion_for_other_features_is_refused_with_what_to_run(scoring: Scoring) -> None:
    uri = scoring.registry.tracking_uri
    client = MlflowClient(uri, uri)
    scoring.arrive()
    client.set_model_version_tag(scoring.registry.name, "2", "feature_version", "0")
    try:
        scoring.point("champion", "2")
        with pytest.raises(ModelError, match=r"trained on feature version 0, this is version .*jobs\.train_model"):
            registry_of(scoring.settings).load("2")
        with pytest.raises(ModelError, match="feature version 0"):
            scoring.once()
    finally:
        client.set_model_version_tag(scoring.registry.name, "2", "feature_version", FEATURE_VERSION)


def test_with_the_registry_away_the_stream_goes_on_and_takes_a_promotion_when_it_is_back(scoring: Scoring) -> None:
    database = Path(scoring.registry.tracking_uri.removeprefix("sqlite:///"))
    scoring.registry.promote("2", why="while it can be")
    scoring.registry.promote("1", why="and back")
    with scoring.stream() as query:
        scoring.arrive()
        query.processAllAvailable()
        before = database.read_bytes()
        database.write_bytes(b"no database at all" * 1000)
        try:
            scoring.arrive()
            query.processAllAvailable()
        finally:
            database.write_bytes(before)
        scoring.registry.promote("2", why="back")
        scoring.arrive()
        query.processAllAvailable()
    assert scoring.versions() == [(0, "1", ROWS), (1, "1", ROWS), (2, "2", ROWS)]


def test_a_registry_that_was_never_there_is_said_in_a_sentence(scoring: Scoring) -> None:
    model = scoring.settings.model.model_copy(update={"tracking_uri": "http://127.0.0.1:1"})
    with pytest.raises(ModelError, match=r"registry at http://127\.0\.0\.1:1"):
        score_features.start(scoring.spark, scoring.lake, scoring.settings.model_copy(update={"model": model}))


def test_no_number_stops_the_stream(scoring: Scoring) -> None:
    odd = feature_rows(5)
    numbers = odd.columns.intersection(list(FEATURE_NAMES)).drop("session_events")
    for place, value in enumerate((np.nan, np.inf, -np.inf, 1e308)):
        odd.loc[place, numbers] = value
    scoring.arrive(odd, nan_is_null=False)
    scoring.once()
    rows = scoring.read(SCORES).select("anomaly_score", "verdict").collect()
    assert len(rows) == 5
    assert all(0.0 <= row["anomaly_score"] <= 1.0 and row["verdict"] != "insufficient_data" for row in rows)


def test_of_several_revisions_that_a_micro_batch_reads_the_newest_is_scored(scoring: Scoring) -> None:
    for _ in range(9):
        scoring.arrive(minute=0)
    stream = scoring.settings.stream.model_copy(update={"max_files_per_trigger": 1000})
    score_features.start(
        scoring.spark, scoring.lake, scoring.settings.model_copy(update={"stream": stream}), once=True
    ).awaitTermination()
    scores = scoring.read(SCORES).select("user_id", *FEATURE_NAMES)
    newest = scoring.read(FEATURE_TABLE).where(f"batch_id = '{BUILD}:8'").select("user_id", *FEATURE_NAMES)
    assert scores.count() == ROWS
    assert scores.exceptAll(newest).isEmpty()


def test_a_repair_that_the_stream_has_overtaken_is_not_scored_and_one_that_it_has_not_is(scoring: Scoring) -> None:
    """Repaired beside a live run, a minute got the score of what it was when the repair began."""

    def repair(number: int) -> None:
        rows = scoring.read(FEATURE_TABLE).where(f"batch_id = '{BUILD}:{number}'")
        after = F.col("batch_time") + F.expr("INTERVAL 1 MICROSECOND")
        repaired = rows.withColumns({"batch_time": after, "batch_id": F.lit(f"repair:{number}")})
        scoring.lake.append(repaired.coalesce(1), FEATURE_TABLE, batch_id=f"repair:{number}")

    def scored() -> dict[datetime, int]:
        counts = scoring.read(SCORES).groupBy("window_start").count().collect()
        return {row[0].astimezone(UTC): row[1] for row in counts}

    for minute in (0, 0, 1):  # numbers 0, 1 and 2
        scoring.arrive(minute=minute)
    scoring.once()
    repair(0)
    repair(2)
    scoring.once()
    assert scored() == {NOON: 2 * ROWS, NOON + timedelta(minutes=1): 2 * ROWS}
    newest = latest(scoring.read(SCORES), SCORES).where(F.col("window_start") == NOON).select("user_id", *FEATURE_NAMES)
    right = scoring.read(FEATURE_TABLE).where(f"batch_id = '{BUILD}:1'").select("user_id", *FEATURE_NAMES)
    assert newest.exceptAll(right).isEmpty()
    scoring.arrive(minute=1)
    scoring.once()
    assert scored()[NOON + timedelta(minutes=1)] == 3 * ROWS


def test_in_the_shadow_the_challenger_judges_the_same_rows_and_changes_no_score(scoring: Scoring) -> None:
    score = scoring.settings.score.model_copy(update={"shadow": True})
    shadowed = Scoring(
        scoring.spark, scoring.lake, scoring.settings.model_copy(update={"score": score}), scoring.registry
    )
    with shadowed.stream() as query:
        shadowed.arrive()
        query.processAllAvailable()  # nobody challenges yet
        shadowed.registry.challenge("2")
        shadowed.arrive()
        query.processAllAvailable()
        shadowed.point("challenger", "3")
        shadowed.arrive()
        query.processAllAvailable()  # damaged: the last good challenger goes on
        shadowed.point("challenger", "1")
        shadowed.arrive()
        query.processAllAvailable()  # the champion itself: nothing to compare
    assert shadowed.versions() == [(number, "1", ROWS) for number in range(4)]
    assert shadowed.no_row_is_lost_or_doubled()
    both = shadowed.read(SHADOW_SCORES)
    assert both.groupBy("model_version", "champion_version").count().collect() == [("2", "1", 2 * ROWS)]
    scores = shadowed.read(SCORES).select("user_id", "window_start", F.col("anomaly_score").alias("champion_score"))
    assert both.join(scores, ["user_id", "window_start", "champion_score"]).count() == 2 * ROWS
    alone = registry_of(shadowed.settings).load("2")
    rows = shadowed.read(FEATURE_TABLE).join(both.select("user_id", "window_start", F.col("anomaly_score")),
                                             ["user_id", "window_start"]).toPandas()  # fmt: skip
    judged = rows[rows["anomaly_score"].notna()]
    expected = alone.score(judged[list(alone.model.feature_names)].to_numpy(np.float64))
    np.testing.assert_allclose(judged["anomaly_score"], expected, atol=1e-12)
    assert len(judged) > ROWS
