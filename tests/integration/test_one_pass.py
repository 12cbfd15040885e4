"""The whole way in one query: what it leaves is what the three queries would have left, whatever stops it."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import functions as F

from features.errors import BehaviorError, ConfigurationError
from features.revisions import latest
from features.tables import ALERTS, EVENTS, FEATURE_TABLE, REJECTED_EVENTS, SCORES, TILES, Table
from jobs import check_parity, promote_model, train_model
from jobs.backfill_features import backfill
from jobs.shared.starter import finisher
from kafka.producer import EventProducer
from lake.spark_tables import Lake
from pipeline import models, one_pass, service
from pipeline.changing import to_one_pass, to_three_queries
from scoring.frames import scorer_of
from streams.queries import Batch
from tests.integration.conftest import Platform
from tests.integration.test_pipeline import START, coordinates, people, send

pytestmark = pytest.mark.integration

ALL = (EVENTS, REJECTED_EVENTS, TILES, FEATURE_TABLE, SCORES)


def grow(platform: Platform, table: Table) -> None:
    """Give one log more versions than the others have, as upkeep does: a version of one says nothing of another."""
    for number in range(9):
        platform.lake.commit([], table, batch_id=f"upkeep:{number}")


def run(platform: Platform) -> str | None:
    """With all that is there, and all that is owed; what it says is left."""
    started = one_pass.start(platform.spark, platform.lake, platform.settings, once=True)
    try:
        started.query.awaitTermination()
        return started.catch_up()
    finally:
        started.stop()


def is_told_of_scores(platform: Platform) -> bool:
    """Take in what is there; whether somebody who waits for scores is told of them."""
    told = threading.Event()
    started = one_pass.start(platform.spark, platform.lake, platform.settings)
    started.when_scored(told.set)
    try:
        started.query.processAllAvailable()
        return told.is_set()
    finally:
        started.stop()


def learn(platform: Platform) -> str:
    version = train_model.train(
        platform.spark, platform.lake, platform.settings, train_model.TrainingOptions(trial=False)
    )
    promote_model.promote(platform.settings, version, force=True, why="test")
    return version


def assert_whole(platform: Platform) -> None:
    """Tiles, features and scores are what the events say, and no minute is without a score of its newest revision."""
    parity = check_parity.check(platform.spark, platform.lake, platform.settings, None)
    assert parity is not None
    assert parity.rows.rows > 0
    assert parity.differences == 0
    newest, scored = (latest(platform.read(table), table) for table in (FEATURE_TABLE, SCORES))
    assert (
        newest.select("user_id", "window_start", "session_events")
        .exceptAll(scored.select("user_id", "window_start", "session_events"))
        .isEmpty()
    )


def counts(platform: Platform) -> list[int]:
    return [platform.read(table).count() for table in ALL]


def test_records_late_and_unordered_leave_what_the_batch_says_and_rows_without_a_model_are_scored_when_there_is_one(
    platform: Platform, producer: EventProducer
) -> None:
    sent = people(900)
    late, rest = sent[:60], sent[60:]
    send(producer, *rest[::2])
    for bad in (b"", b"not json", b'{"user_id": 5}', json.dumps(rest[0]).encode()):
        producer.send_raw(bad, b"k")
    producer.flush()
    run(platform)
    assert platform.read(SCORES).isEmpty()
    version = learn(platform)
    run(platform)  # nothing new came: what is owed is done all the same
    assert {row[0].count("/") for row in platform.read(SCORES).select("batch_id").collect()} == {1}
    for part in (rest[1::2], late):
        grow(platform, TILES)
        run(platform)  # and notes where it is
        send(producer, *part)
        assert is_told_of_scores(platform)
    own = {row[0] for row in platform.read(TILES).select("batch_id").distinct().collect()}
    scored = {row[0] for row in platform.read(SCORES).select("batch_id").distinct().collect()}
    assert len(own) == 3
    assert len(scored & own) == 2  # in the pass itself; what came before the model was caught up with
    assert_whole(platform)
    events, rejected = platform.read(EVENTS), platform.read(REJECTED_EVENTS)
    assert (events.count(), rejected.count()) == (900, 4)
    assert len(set(coordinates(events) + coordinates(rejected))) == 904
    assert {row[0] for row in platform.read(SCORES).select("model_version").distinct().collect()} == {version}


@pytest.mark.parametrize("killed_before", ALL, ids=lambda table: table.name)
def test_killed_between_any_two_commits_it_writes_nothing_twice_and_all_of_it(
    platform: Platform, producer: EventProducer, monkeypatch: pytest.MonkeyPatch, killed_before: Table
) -> None:
    send(producer, *people(200))
    run(platform)
    learn(platform)
    run(platform)
    before = counts(platform)
    commit = Batch.commit

    def killed(self: Batch, lake: Any, files: Any, table: Table) -> None:
        if table is killed_before:
            raise RuntimeError("killed")
        commit(self, lake, files, table)

    send(producer, *people(300)[200:])
    producer.send_raw(b"junk", b"k")
    producer.flush()
    with monkeypatch.context() as patch:
        patch.setattr(Batch, "commit", killed)
        with pytest.raises(Exception, match="killed"):
            run(platform)
    run(platform)
    assert_whole(platform)
    after = counts(platform)
    assert (after[0] - before[0], after[1] - before[1]) == (100, 1)
    platform.forget_last_commit("ingest_events")
    run(platform)
    assert counts(platform) == after


def test_what_batch_jobs_append_and_what_failed_on_the_way_is_taken_when_it_can_be(
    platform: Platform, producer: EventProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = people(400)
    send(producer, *sent[:200])
    run(platform)
    learn(platform)

    def broken(*_: object) -> None:
        raise OSError("no tiles today")

    send(producer, *sent[200:300])
    with monkeypatch.context() as patch:
        patch.setattr(one_pass, "near_tiles", broken)
        patch.setattr("streams.look_back.near_tiles", broken)
        left = run(platform)
    assert left is not None
    assert "1 appends wait" in left
    assert "events: no tiles today" in left
    assert platform.read(EVENTS).count() == 300
    assert platform.read(TILES).agg(F.sum("events")).collect()[0][0] == 200
    assert run(platform) is None
    assert_whole(platform)

    send(producer, *sent[300:])
    with monkeypatch.context() as patch:
        patch.setattr(models, "scorer_of", lambda *_: replace(scorer_of(*_), names=("no_such_feature",)))
        left = run(platform)
    assert left is not None
    assert "features: there is no model that can score them now" in left
    unscored = platform.read(SCORES).count()
    run(platform)
    assert platform.read(SCORES).count() > unscored
    assert_whole(platform)

    assert backfill(platform.spark, platform.lake, platform.settings) > 0
    rows = (
        platform.read(EVENTS)
        .limit(40)
        .withColumns(
            {"topic": F.lit("elsewhere"), "ingest_id": F.lit("replay:1"), "ingested_at": F.lit(datetime.now(UTC))}
        )
    )
    platform.lake.append(rows.coalesce(1), EVENTS, batch_id="replay:1")
    run(platform)
    assert platform.read(TILES).agg(F.sum("events")).collect()[0][0] == 440
    assert_whole(platform)
    before = counts(platform)
    run(platform)
    assert counts(platform) == before


def test_neither_the_three_queries_nor_the_one_pass_begin_where_the_other_has_come(
    platform: Platform, producer: EventProducer, tmp_path: Path
) -> None:
    send(producer, *people(50))
    run(platform)
    with pytest.raises(BehaviorError, match="is a step of run_pipeline here"):
        platform.build()
    (tmp_path / "checkpoints" / "run_pipeline" / "owed.json").unlink()
    with pytest.raises(BehaviorError, match="change_flow --to one-pass"):
        run(platform)


def test_where_workers_cannot_write_tables_it_says_which_jobs_to_run(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lake, "takes_files", False)
    with pytest.raises(ConfigurationError, match="Run ingest_events, build_features and score_features"):
        run(platform)


def test_as_a_service_it_raises_alerts_too(platform: Platform, producer: EventProducer) -> None:
    send(producer, *people(200))
    run(platform)
    learn(platform)
    minute = f"{START:%Y-%m-%dT%H:%M}"
    busy: list[dict[str, object]] = [
        {"user_id": "busy", "action": "click", "page": f"/{number}", "timestamp": f"{minute}:{second:02}Z"}
        for second in range(60)
        for number in range(8)
    ]
    send(producer, *people(400)[200:], *busy)
    quiet = platform.settings.alerts.model_copy(update={"kafka": False})
    settings = platform.settings.model_copy(update={"alerts": quiet})
    service.run(platform.spark, platform.lake, settings, once=True)
    assert_whole(platform)
    newest = latest(platform.read(SCORES), SCORES)
    flagged = {row[0] for row in newest.where("verdict = 'anomaly'").select("user_id").collect()}
    assert flagged
    assert {row[0] for row in platform.read(ALERTS).select("user_id").collect()} == flagged


def plan_another_batch(offsets: Path) -> None:
    """As if the query had been stopped when it had planned a batch and written nothing of it."""
    newest = max(int(file.name) for file in offsets.iterdir() if file.name.isdigit())
    (offsets / str(newest + 1)).write_bytes((offsets / str(newest)).read_bytes())


def test_changing_to_one_pass_and_back_reads_nothing_again_and_leaves_nothing_out(
    platform: Platform, producer: EventProducer, tmp_path: Path
) -> None:
    where = (platform.spark, platform.lake, platform.settings)
    sent = people(600)
    send(producer, *sent[:200])
    platform.ingest()
    platform.build()
    learn(platform)
    platform.score()
    grow(platform, FEATURE_TABLE)
    for query in ("ingest_events", "build_features"):  # killed before they could note their last batches
        platform.forget_last_commit(query)
    send(producer, *sent[200:300])
    to_one_pass(*where, finisher(*where))
    send(producer, *sent[300:400])
    run(platform)
    assert_whole(platform)

    platform.forget_last_commit("ingest_events")
    with pytest.raises(BehaviorError, match="in the middle of a batch's commits"):
        to_three_queries(*where, partial(one_pass.catch_up, *where))
    send(producer, *sent[400:500])
    platform.ingest()  # finishes the batch, and leaves the new events to be folded
    to_three_queries(*where, partial(one_pass.catch_up, *where))
    send(producer, *sent[500:])
    platform.ingest()
    platform.build()
    platform.score()
    assert_whole(platform)
    assert platform.read(EVENTS).count() == 600
    assert platform.read(TILES).agg(F.sum("events")).collect()[0][0] == 600

    to_one_pass(*where, finisher(*where))
    run(platform)
    assert_whole(platform)
    assert platform.read(TILES).agg(F.sum("events")).collect()[0][0] == 600

    plan_another_batch(tmp_path / "checkpoints" / "ingest_events" / "offsets")
    to_three_queries(*where, partial(one_pass.catch_up, *where))
    assert_whole(platform)  # those that have not run yet are where the one pass has come
    to_one_pass(*where, finisher(*where))
    to_three_queries(*where, partial(one_pass.catch_up, *where))
    platform.build()  # although there is nothing to be read from there on
    platform.score()
    to_one_pass(*where, finisher(*where))
    run(platform)
    assert_whole(platform)
    assert platform.read(TILES).agg(F.sum("events")).collect()[0][0] == 600
