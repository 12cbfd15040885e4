"""The way of an event, from a real broker to its score."""

from __future__ import annotations

import fcntl
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import mlflow.pyfunc
import numpy as np
import pytest
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.behavior import behavior
from features.definitions import FEATURE_NAMES
from features.errors import BehaviorError, DataLossError, EnvironmentProblem, ModelError
from features.revisions import latest
from features.tables import EVENTS, FEATURE_TABLE, REJECTED_EVENTS, SCORES, TILES
from features.tiles import fold, merge
from jobs import build_features, ingest_events, promote_model, train_model
from kafka import guard
from kafka.producer import EventProducer
from lake.spark_tables import Lake
from replay.file_replay import replay
from simulation import Scenario, simulate
from streams import queries
from streams.rules import session_rules
from tests.integration.conftest import Platform

pytestmark = pytest.mark.integration

START = datetime(2026, 3, 1, 23, 50, tzinfo=UTC)
"""Near midnight and the end of a month's first day, so that borders are crossed."""


def people(events: int, seed: int = 5) -> list[dict[str, object]]:
    """Simulated events, in order of time."""
    stream = simulate(Scenario(START, rate=2.0, duration=timedelta(hours=2), seed=seed))
    return [dict(event) for _, event in zip(range(events), stream, strict=False)]


def send(producer: EventProducer, *events: dict[str, object]) -> None:
    for event in events:
        producer.send_raw(json.dumps(event).encode(), str(event["user_id"]).encode())
    producer.flush()


def differences(streamed: DataFrame, batch: DataFrame) -> int:
    left, right = streamed.select(batch.columns), batch
    return left.exceptAll(right).count() + right.exceptAll(left).count()


def coordinates(rows: DataFrame) -> list[tuple[int, int]]:
    return sorted((row["partition"], row["offset"]) for row in rows.select("partition", "offset").collect())


def test_every_record_becomes_one_event_or_one_rejected_record_and_every_user_minute_is_scored(
    platform: Platform, producer: EventProducer
) -> None:
    sent = people(1500)
    send(producer, *sent)
    for bad in (b"", b"not json", b'{"user_id": 5}', json.dumps(sent[0]).encode()):
        producer.send_raw(bad, b"k")
    producer.flush()
    platform.ingest()
    platform.build()
    version = train_model.train(platform.spark, platform.lake, platform.settings)
    promote_model.promote(platform.settings, version, why="test")
    platform.score()

    events, rejected = platform.read(EVENTS), platform.read(REJECTED_EVENTS)
    assert (events.count(), rejected.count()) == (1500, 4)
    assert len(set(coordinates(events) + coordinates(rejected))) == 1504
    reasons = {row["reason"] for row in rejected.select("reason").collect()}
    assert {"empty", "not_json", "duplicate_event_id"} < reasons
    scores, features = platform.read(SCORES), platform.read(FEATURE_TABLE)
    assert coordinates_of_minutes(scores) == coordinates_of_minutes(features)
    assert {row["model_version"] for row in scores.select("model_version").collect()} == {version}
    flagged = scores.where("verdict = 'anomaly'").collect()
    assert flagged
    assert all(row["reasons"] and row["anomaly_score"] >= row["threshold"] for row in flagged)

    judged = scores.where("verdict <> 'insufficient_data'").toPandas()
    mlflow.set_tracking_uri(platform.settings.model.tracking_uri)
    model = mlflow.pyfunc.load_model(f"models:/{platform.settings.model.name}@champion")
    assert np.allclose(model.predict(judged[list(FEATURE_NAMES)]), judged["anomaly_score"], atol=1e-9)


def coordinates_of_minutes(rows: DataFrame) -> set[tuple[str, datetime]]:
    return {(row[0], row[1]) for row in rows.select("user_id", "window_start").collect()}


@pytest.mark.parametrize("by_workers", [True, False])
def test_streamed_features_equal_the_batch_over_micro_batches_with_late_and_unordered_events(
    platform: Platform, producer: EventProducer, monkeypatch: pytest.MonkeyPatch, by_workers: bool
) -> None:
    if by_workers:
        assert platform.lake.takes_files
    else:  # as on Databricks
        monkeypatch.setattr(Lake, "takes_files", False)
    sent = people(900)
    late, rest = sent[:60], sent[60:]
    for part in (rest[::2], rest[1::2], late):
        send(producer, *part)
        platform.ingest()
    platform.build()
    streamed = latest(platform.read(FEATURE_TABLE), FEATURE_TABLE)
    batch = behavior(fold(platform.read(EVENTS)), session_rules(platform.settings))
    assert platform.read(TILES).select("batch_id").distinct().count() >= 3
    assert streamed.count() > 200
    assert differences(streamed, batch) == 0
    tiles, folded = merge(platform.read(TILES)), fold(platform.read(EVENTS))
    assert tiles.exceptAll(folded).isEmpty()
    assert folded.exceptAll(tiles).isEmpty()


def test_a_batch_is_counted_once_however_often_its_rows_are_looked_at(
    platform: Platform, producer: EventProducer
) -> None:
    send(producer, *people(300))
    platform.ingest()
    query = build_features.start(platform.spark, platform.lake, platform.settings, once=True)
    query.awaitTermination()
    counted = sum(progress["numInputRows"] for progress in query.recentProgress)
    assert counted == platform.read(EVENTS).count() > 0


def test_a_batch_that_runs_again_after_a_kill_writes_nothing_twice(platform: Platform, producer: EventProducer) -> None:
    send(producer, *people(400))
    producer.send_raw(b"junk", b"k")
    producer.flush()
    platform.ingest()
    platform.build()
    tables = (EVENTS, REJECTED_EVENTS, TILES, FEATURE_TABLE)
    before = [platform.read(table).count() for table in tables]
    for query in ("ingest_events", "build_features"):
        platform.forget_last_commit(query)
    platform.ingest()
    platform.build()
    assert [platform.read(table).count() for table in tables] == before


def test_an_event_id_counts_once_whatever_else_the_record_says(platform: Platform, producer: EventProducer) -> None:
    first = people(1)[0]
    send(producer, first, first)
    platform.ingest()
    send(producer, first, {**first, "page": "/elsewhere", "timestamp": "2026-03-05T12:00:00Z"})
    platform.ingest()
    anonymous = {name: value for name, value in first.items() if name != "event_id"}
    send(producer, anonymous, anonymous)
    platform.ingest()
    assert platform.read(EVENTS).count() == 3
    assert platform.read(REJECTED_EVENTS).where(F.col("reason") == "duplicate_event_id").count() == 3


def test_a_lost_checkpoint_beside_a_filled_table_is_refused(platform: Platform, producer: EventProducer) -> None:
    send(producer, *people(5))
    platform.ingest()
    Path(platform.settings.storage.checkpoints, "ingest_events").rename(
        Path(platform.settings.storage.checkpoints, "elsewhere")
    )
    with pytest.raises(DataLossError, match="has no checkpoint"):
        platform.ingest()


def test_scoring_without_a_champion_says_what_to_run(platform: Platform) -> None:
    with pytest.raises(ModelError, match=r"jobs\.train_model"):
        platform.score()


def test_a_broker_that_is_not_there_is_said_in_a_sentence(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "ANSWER_SECONDS", 1)
    kafka = platform.settings.kafka.model_copy(update={"bootstrap_servers": "127.0.0.1:1"})
    settings = platform.settings.model_copy(update={"kafka": kafka})
    with pytest.raises(EnvironmentProblem, match=r"No Kafka broker answers at 127\.0\.0\.1:1"):
        ingest_events.start(platform.spark, platform.lake, settings, once=True)


def test_a_second_process_on_the_same_checkpoint_is_refused(platform: Platform) -> None:
    lock = Path(platform.settings.storage.checkpoints, "ingest_events.lock")
    lock.parent.mkdir(parents=True)
    with lock.open("w") as held:  # as another process would hold it
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(BehaviorError, match="another process"):
            platform.ingest()
    platform.ingest()


def test_a_fenced_append_of_another_driver_is_not_made_again(platform: Platform, producer: EventProducer) -> None:
    send(producer, *people(20))
    stream = platform.settings.stream.model_copy(update={"fenced": True})
    fenced = Platform(platform.spark, platform.lake, platform.settings.model_copy(update={"stream": stream}))
    fenced.ingest()
    rows = platform.read(EVENTS)
    query_id, number = str(rows.select("ingest_id").first()[0]).split(":")  # type: ignore[index]
    lost_one = queries.Batch(query_id, int(number), planned=None, fenced=True)
    lost_one.append(platform.lake, rows.select(EVENTS.columns), EVENTS)
    assert platform.read(EVENTS).count() == 20


def test_the_recorded_shop_goes_through_whole(platform: Platform, producer: EventProducer, data: Path) -> None:
    log = data / "shop_events.jsonl.gz"
    if not log.is_file():
        pytest.skip(f"{log} is not there: it is not part of the repository")
    lines = replay(log, producer).lines
    platform.ingest()
    platform.build()
    assert platform.read(EVENTS).count() + platform.read(REJECTED_EVENTS).count() == lines
    assert platform.read(EVENTS).select("user_id").distinct().count() == 640
    streamed = latest(platform.read(FEATURE_TABLE), FEATURE_TABLE)
    assert differences(streamed, behavior(fold(platform.read(EVENTS)), session_rules(platform.settings))) == 0
