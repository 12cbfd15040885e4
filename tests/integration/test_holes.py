"""A commit that another writer has overwritten is found, and what it held is made again, whichever table lost it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from delta.tables import DeltaTable
from pyspark.sql import SparkSession

from features.parity import ALL, OF_SCORES, OF_TILES
from features.tables import EVENTS, FEATURE_TABLE, SCORES, TILES, Table
from jobs import build_features, check_ledger, check_parity, promote_model, train_model
from jobs.backfill_features import backfill
from jobs.shared.recompute import folded_events
from kafka.ledger import audit
from kafka.producer import EventProducer
from lake.spark_tables import Lake
from streams.progress import reached
from tests.integration.conftest import Platform
from tests.integration.test_pipeline import people, send

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]


def overwrite_commit(spark: SparkSession, platform: Platform, table: Table, back: int) -> Platform:
    """Another writer's commit, which changes nothing, in the place of the table's newest one but ``back``.

    Returns:
        The platform as a new process sees it.
    """
    log = Path(platform.lake.root, table.name, "_delta_log")
    commits = sorted(log.glob("*[0-9].json"))
    lost = commits[-1 - back]
    lost.write_text(json.dumps({"commitInfo": {"timestamp": 0, "operation": "VACUUM END"}}) + "\n", encoding="utf-8")
    for summary in [*log.glob("*.crc"), *log.glob(".*.crc")]:
        summary.unlink(missing_ok=True)
    jvm: Any = spark._jvm  # noqa: SLF001
    jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()
    return Platform(spark, Lake(spark, platform.lake.root), platform.settings)


def ledger(platform: Platform) -> int:
    return sum(entry.difference for entry in audit(platform.spark, platform.lake, platform.settings))


def parity(platform: Platform, *, repair: bool = False) -> dict[str, int]:
    """What is not as the events say: rows, tiles, scores."""
    found = check_parity.check(platform.spark, platform.lake, platform.settings, None, repair=repair)
    assert found is not None
    names = (ALL, OF_TILES, OF_SCORES)
    checks = {check.feature: check for check in found.checks if check.feature in names}
    return {name: check.missing + check.extra + check.different for name, check in checks.items()}


WHOLE = {ALL: 0, OF_TILES: 0, OF_SCORES: 0}


def all_streams(platform: Platform) -> None:
    platform.ingest()
    platform.build()
    platform.score()


def take_in(platform: Platform, producer: EventProducer, parts: Sequence[Sequence[dict[str, object]]]) -> None:
    """Each of ``parts`` as one micro-batch of each query."""
    for part in parts:
        send(producer, *part)
        all_streams(platform)


@pytest.mark.slow
def test_what_a_lost_commit_held_is_found_and_made_again_whichever_table_lost_it(
    spark: SparkSession, platform: Platform, producer: EventProducer
) -> None:
    sent = people(900)
    send(producer, *sent[:300])
    platform.ingest()
    platform.build()
    promote_model.promote(platform.settings, train_model.train(spark, platform.lake, platform.settings), why="test")
    take_in(platform, producer, [sent[300:600], sent[600:]])
    assert (ledger(platform), parity(platform)) == (0, WHOLE)

    # Lost after all was made of it: the ledger names the offsets, and their events, taken again, are counted twice in
    # tiles until parity says so.
    platform = overwrite_commit(spark, platform, EVENTS, back=1)
    entries, back = check_ledger.repair(spark, platform.lake, platform.settings)
    assert sum(entry.difference for entry in entries) == back == 300
    assert ledger(platform) == 0
    all_streams(platform)
    assert parity(platform)[OF_TILES] > 0
    parity(platform, repair=True)
    platform.score()
    assert (ledger(platform), parity(platform)) == (0, WHOLE)

    for table in (TILES, FEATURE_TABLE, SCORES):
        take_in(platform, producer, [people(200, seed=hash_of(table)), people(200, seed=hash_of(table) + 1)])
        platform = overwrite_commit(spark, platform, table, back=1)
        assert sum(parity(platform, repair=True).values()) > 0, table.name
        platform.score()
        assert parity(platform) == WHOLE, table.name
    assert check_ledger.repair(spark, platform.lake, platform.settings)[1] == 0, "nothing is lost, nothing is taken"


def hash_of(table: Table) -> int:
    return 10 * len(table.name)


def test_events_lost_before_they_were_counted_are_counted_once_when_they_are_back(
    spark: SparkSession, platform: Platform, producer: EventProducer
) -> None:
    sent = people(200)
    for part in (sent[:100], sent[100:]):
        send(producer, *part)
        producer.send_raw(b"no event", None)
        producer.flush()
        platform.ingest()
    platform = overwrite_commit(spark, platform, EVENTS, back=0)
    # One of those that are lost comes again meanwhile, and is taken: it was an event already, and stays the only one.
    send(producer, sent[150])
    platform.ingest()
    entries, back = check_ledger.repair(spark, platform.lake, platform.settings)
    assert back == sum(entry.difference for entry in entries) == 100
    whole = audit(spark, platform.lake, platform.settings)
    assert sum(entry.difference for entry in whole) == 0
    assert sum(entry.account.events for entry in whole) == 200
    assert sum(entry.account.duplicates for entry in whole) == 1
    platform.build()
    assert parity(platform) == WHOLE


def test_what_was_folded_at_a_position_stays_the_same_while_the_streams_go_on(
    spark: SparkSession, platform: Platform, producer: EventProducer
) -> None:
    """Else a repair beside a live run counts what it takes for lost a second time: 5,729 tiles of one minute had it."""

    def come(seed: int) -> None:
        send(producer, *people(100, seed=seed))
        platform.ingest()
        platform.build()

    come(1)
    folded = folded_events(platform.lake, reached(spark, platform.settings, build_features.QUERY))
    come(2)
    assert folded.count() == 100


def test_a_minute_whose_newest_revision_is_still_to_be_scored_is_not_compared_with_the_score_before(
    spark: SparkSession, platform: Platform, producer: EventProducer
) -> None:
    send(producer, *people(300))
    platform.ingest()
    platform.build()
    promote_model.promote(platform.settings, train_model.train(spark, platform.lake, platform.settings), why="test")
    platform.score()
    backfill(spark, platform.lake, platform.settings, slices=1)
    # What maintenance does when more batches lie between.
    DeltaTable.forPath(spark, platform.lake.path(FEATURE_TABLE)).delete("batch_id NOT LIKE 'backfill%'")
    assert parity(platform) == WHOLE
    platform.score()
    assert parity(platform) == WHOLE
