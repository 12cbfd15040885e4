"""Training and the gate on real tables and a real registry; no broker is needed."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from pyspark.sql import SparkSession
from typer.testing import CliRunner, Result

from features.definitions import FEATURE_NAMES, FEATURE_VERSION, FEATURES
from features.errors import ModelError, UsageError
from features.tables import DRIFT_REPORTS, FEATURE_TABLE, FEEDBACK, SCORES
from jobs import check_drift, promote_model, set_threshold, train_model
from jobs.train_model import TrainingOptions
from lake.spark_tables import Lake
from registry.configured import registry_of
from scoring.arrays import Rules
from scoring.frames import score
from scoring.thresholds import LEVELS
from settings import Settings, load_settings
from tests.unit.training.samples import feature_rows
from training.model import features_of

pytestmark = pytest.mark.integration

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
MOVED = [one.name for one in FEATURES if one.name in features_of("default") and one.heavy_tail and not one.strange][:6]


@dataclass(frozen=True)
class Place:
    """Tables and a registry of one test."""

    spark: SparkSession
    lake: Lake
    settings: Settings

    def add(self, rows: pd.DataFrame, start: datetime = START) -> None:
        """Append feature rows, a minute after the other for each of their users; ``user_id`` is made text."""
        minutes = rows.groupby("user_id").cumcount().to_numpy()
        times = [start + timedelta(minutes=int(minute)) for minute in minutes]
        table = pd.DataFrame(
            {
                "user_id": rows["user_id"].map(str),
                "window_start": times,
                "session_start": start,
                "session_is_split": False,
                **{name: rows[name].astype(float) for name in FEATURE_NAMES},
                "last_received_at": times,
                "feature_version": FEATURE_VERSION,
                "batch_time": start,
                "batch_id": uuid.uuid4().hex,
            }
        )
        frame = self.spark.createDataFrame(table, FEATURE_TABLE.schema)
        self.lake.append(frame.coalesce(1), FEATURE_TABLE, batch_id="test")

    def say(self, verdicts: dict[str, str], start: datetime = START, minutes: int = 1000) -> None:
        """Feedback for the users' alerts of the given length."""
        rows = [
            (uuid.uuid4().hex, f"alert of {user}", user, start, start, start + timedelta(minutes=minutes), verdict)
            for user, verdict in verdicts.items()
        ]
        filled = [(*row, None, "tests", datetime.now(UTC)) for row in rows]
        self.lake.append(self.spark.createDataFrame(filled, FEEDBACK.schema), FEEDBACK, batch_id="test")

    def version(self, number: str) -> ModelVersion:
        return MlflowClient(self.settings.model.tracking_uri).get_model_version(self.settings.model.name, number)

    def with_settings(self, *overrides: str) -> Place:
        kept = [
            f"storage.root={self.settings.storage.root}",
            f"model.tracking_uri={self.settings.model.tracking_uri}",
            "model.trees=50",
            "model.trial_users=150",
        ]
        return Place(self.spark, self.lake, load_settings("local", [*kept, *overrides]))

    def train(self, options: TrainingOptions | None = None) -> str:
        return train_model.train(self.spark, self.lake, self.settings, options)


@pytest.fixture
def place(spark: SparkSession, tmp_path: Path) -> Place:
    settings = load_settings(
        "local", [f"storage.root={tmp_path}/lake", f"model.tracking_uri=sqlite:///{tmp_path}/m.db"]
    )
    lake = Lake(spark, settings.storage.root)
    lake.create(FEATURE_TABLE, FEEDBACK, SCORES, DRIFT_REPORTS)
    return Place(spark, lake, settings).with_settings()


def test_a_training_says_what_it_took_and_keeps_what_it_found(place: Place) -> None:
    place.add(feature_rows(300))
    said: list[str] = []
    version = train_model.train(place.spark, place.lake, place.settings, tell=said.append)
    assert said[0].startswith("300 of 300 judged rows (300 seen) of 50 users")
    client, tags = MlflowClient(place.settings.model.tracking_uri), place.version(version).tags
    run = client.get_run(tags["run_id"])
    assert run.data.tags["sample"] == said[0]
    assert run.data.params["delta_version"] == "1"
    assert (run.data.params["rows_available"], run.data.params["rows_used"]) == ("300", "300")
    assert run.data.params["sampled"].endswith("all user sessions")
    assert {"recall.scraper", "false_alarms.power_user", "trial.roc_auc"} <= set(run.data.metrics)
    kept = {file.path for folder in ("", "pictures") for file in client.list_artifacts(run.info.run_id, folder)}
    drawn = {f"pictures/{name}.png" for name in ("scores", "scenario_recall", "feature_influence")}
    assert drawn | {"behavior.json", "libraries.json"} <= kept
    assert json.loads(tags["parameters"])["trees"] == 50


@pytest.mark.slow
def test_the_first_model_passes_a_like_one_too_and_another_kind_only_by_force_with_a_reason(place: Place) -> None:
    place.add(feature_rows(300))
    first, second = place.train(), place.with_settings("model.seed=3").train()
    plain = place.with_settings("model.preset=plain").train()
    loose = ["min_stability=0", "max_scenario_recall_loss=1", "max_recall_loss=1", "max_false_alarm_rise=1"]
    calm = place.with_settings(*(f"gate.{one}" for one in (*loose, "min_top_overlap=0.05")))
    registry, client = registry_of(place.settings), MlflowClient(place.settings.model.tracking_uri)

    assert promote_model.promote(calm.settings, first, "first") == first
    assert promote_model.promote(calm.settings, second, "again", lake=calm.lake) == second
    with pytest.raises(ModelError, match=rf"Version {plain} did not pass against champion {second}: .*--force --why"):
        promote_model.promote(calm.settings, plain, "", lake=calm.lake)
    assert registry.resolve_champion() == second
    refused = place.version(plain).tags
    assert client.get_run(refused["gate_run_id"]).data.tags["gate"] == "refused"

    with pytest.raises(UsageError, match="needs a reason"):
        promote_model.promote(calm.settings, plain, " ", lake=calm.lake, force=True)
    promote_model.promote(calm.settings, plain, "a demonstration", lake=calm.lake, force=True)
    assert registry.resolve_champion() == plain
    tags = place.version(plain).tags
    assert tags["gate"].startswith("forced: ")
    assert tags["promoted_why"] == "a demonstration"
    run = client.get_run(tags["gate_run_id"])
    assert (run.data.tags["gate"], run.data.tags["gate.forced_why"]) == ("forced", "a demonstration")
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["gate.json"]
    assert run.data.metrics["gate.change_of_flagged_share"] > 0.02
    assert registry.rollback() == second


@pytest.mark.slow
def test_a_training_reads_the_delta_version_and_the_range_it_is_told(place: Place) -> None:
    place.add(feature_rows(300, seed=1))
    place.add(feature_rows(200, seed=2).assign(user_id=lambda rows: rows["user_id"] + 100), START + timedelta(days=1))
    client = MlflowClient(place.settings.model.tracking_uri)

    def seen(options: TrainingOptions) -> float:
        run = client.get_run(place.version(place.train(options)).tags["run_id"])
        return float(run.data.metrics["rows_seen"])

    assert seen(TrainingOptions()) == 500
    assert seen(TrainingOptions(version=1)) == 300
    assert seen(TrainingOptions(since=START + timedelta(days=1))) == 200
    assert seen(TrainingOptions(until=START + timedelta(days=1))) == 300


def test_a_delta_version_that_is_not_there_is_refused(place: Place) -> None:
    place.add(feature_rows(30))
    with pytest.raises(UsageError, match="no Delta version 7: the newest is 1"):
        place.train(TrainingOptions(version=7))


def test_what_analysts_confirmed_is_not_learned_and_what_they_called_false_is(place: Place) -> None:
    place.add(feature_rows(300))
    place.say({"1": "true", "2": "false", "3": "true"})
    place.say({"3": "false"})
    run = MlflowClient(place.settings.model.tracking_uri).get_run(place.version(place.train()).tags["run_id"])
    of_user_1 = int((feature_rows(300)["user_id"] == 1).sum())
    assert of_user_1 > 0
    assert run.data.metrics["rows_seen"] == 300 - of_user_1
    assert run.data.params["excluded_ranges"] == "1"


@pytest.mark.slow
def test_a_search_takes_the_best_of_what_it_tried_and_keeps_the_list(place: Place) -> None:
    place.add(feature_rows(300))
    client = MlflowClient(place.settings.model.tracking_uri)
    tags = place.version(place.train(TrainingOptions(search=2))).tags
    listed = client.list_artifacts(tags["run_id"], "tables")
    assert [file.path for file in listed] == ["tables/search.json"]
    table = json.loads(Path(client.download_artifacts(tags["run_id"], "tables/search.json")).read_text())
    first = dict(zip(table["columns"], table["data"][0], strict=True))
    best = max(
        row[table["columns"].index("stability")] + row[table["columns"].index("recall")] for row in table["data"]
    )
    assert first["stability"] + first["recall"] == pytest.approx(best, abs=1e-6)
    assert json.loads(tags["parameters"])["trees"] == first["trees"]


@pytest.mark.slow
def test_another_detector_is_trained_by_setting_and_scores_in_spark(place: Place) -> None:
    place.add(feature_rows(300))
    other = place.with_settings("model.preset=lof")
    version = other.train()
    loaded = registry_of(other.settings).load(version)
    scored = score(other.lake.read(FEATURE_TABLE).drop("batch_time", "batch_id"), loaded, Rules()).toPandas()
    np.testing.assert_allclose(scored["anomaly_score"], loaded.model.score(scored), atol=1e-12)
    assert (scored["verdict"] == "anomaly").sum() > 0


@pytest.mark.slow
def test_drift_is_found_in_the_newest_day_and_written_down_and_a_threshold_is_previewed_on_it(place: Place) -> None:
    learned = feature_rows(1500).assign(user_id=range(1500))
    place.add(learned)
    champion = place.train()
    promote_model.promote(place.settings, champion, "first")
    _, calm, _ = check_drift.check(place.spark, place.lake, place.settings)
    assert (calm.retrain, calm.rows) == (False, 1500)

    sessions, days = set_threshold.history(
        place.lake, place.settings, registry_of(place.settings).load(champion), days=7
    )
    assert len(sessions) == 1500
    assert days == pytest.approx(1 / 1440)
    loaded = registry_of(place.settings).load(champion)
    flagged = (loaded.model.score(learned) >= loaded.threshold).sum()
    assert (sessions["score"] >= loaded.threshold).sum() == pytest.approx(flagged, abs=1)

    place.add(learned.assign(**{name: learned[name] * 30 for name in MOVED}), START + timedelta(days=2))
    _, moved, _ = check_drift.check(place.spark, place.lake, place.settings)
    assert (moved.retrain, moved.rows) == (True, 1500)
    written = place.lake.read(DRIFT_REPORTS).toPandas()
    assert written.groupby("run_id").size().tolist() == [len(calm.findings), len(moved.findings)]
    assert set(written[written["drifted"]]["subject"]) >= {"(score)", "(flag rate)", *MOVED}
    assert written["because"].nunique() == 2


@pytest.mark.slow
def test_with_no_rows_there_is_a_report_and_no_error(place: Place) -> None:
    place.add(feature_rows(300))
    promote_model.promote(place.settings, place.train(), "first")
    place.lake.spark.sql(f"DELETE FROM delta.`{place.lake.path(FEATURE_TABLE)}`")
    _, report, days = check_drift.check(place.spark, place.lake, place.settings)
    assert report.line().startswith("retrain: no because 0 rows can be judged")
    assert days.empty
    assert place.lake.read(DRIFT_REPORTS).count() == 1


@pytest.mark.slow
def test_flag_rates_are_by_day_and_count_the_newest_revision(place: Place) -> None:
    columns = {field.name: None for field in SCORES.schema}
    rows = [
        columns
        | dict.fromkeys(FEATURE_NAMES, 1.0)
        | {
            "user_id": user, "window_start": START + timedelta(days=day), "session_start": START,
            "session_is_split": False, "feature_version": FEATURE_VERSION, "verdict": verdict, "model_name": "m",
            "model_version": "1", "threshold": 0.5, "scored_at": START, "batch_time": START, "batch_id": batch,
        }
        for user, day, verdict, batch in [
            ("a", 0, "anomaly", "1"), ("a", 0, "normal", "2"), ("b", 0, "insufficient_data", "1"),
            ("a", 1, "anomaly", "1"), ("b", 1, "normal", "1"),
        ]
    ]  # fmt: skip
    filled = [[row[name] for name in SCORES.columns] for row in rows]
    place.lake.append(place.spark.createDataFrame(filled, SCORES.schema), SCORES, batch_id="test")
    rates = check_drift.flag_rates(place.lake)
    assert rates[["rows", "users", "share"]].to_numpy().tolist() == [[1, 1, 0.0], [2, 2, 0.5]]


def command(job: object, *arguments: str) -> Result:
    app = typer.Typer()
    app.command()(job.main)  # type: ignore[attr-defined]
    return CliRunner().invoke(app, list(arguments))


@pytest.mark.slow
def test_a_threshold_is_set_from_the_command_line_without_training(place: Place) -> None:
    place.add(feature_rows(300))
    version = place.train()
    where = ["--set", f"model.tracking_uri={place.settings.model.tracking_uri}", "--version", version]
    registry = registry_of(place.settings)
    assert isinstance(command(set_threshold, *where).exception, UsageError)
    assert isinstance(command(set_threshold, *where, "--score", "7").exception, UsageError)
    assert isinstance(command(set_threshold, *where, "--score", "0.6", "--percentile", "99").exception, UsageError)
    assert isinstance(command(set_threshold, *where[:2], "--score", "0.6").exception, UsageError)

    done = command(set_threshold, *where, "--percentile", "90")
    assert "Threshold of version 1:" in done.output
    reference = registry.load(version).reference
    assert registry.threshold(version) == pytest.approx(np.interp(90, LEVELS, reference.row_scores.quantiles))
    command(set_threshold, *where, "--alerts-per-day", "10")
    share = 10 / reference.alerts.per_day
    assert registry.threshold(version) == pytest.approx(
        np.interp(100 * (1 - share), LEVELS, reference.alerts.quantiles)
    )
