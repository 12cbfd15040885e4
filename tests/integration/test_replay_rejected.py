"""What was rejected and passes now moves to the events, once."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from pyspark.sql import functions as F

from features.errors import UsageError
from features.tables import EVENTS, REJECTED_EVENTS
from jobs import replay_rejected
from jobs.replay_rejected import Replayed
from kafka.producer import EventProducer
from tests.integration.conftest import Platform
from tests.integration.test_pipeline import coordinates, people, send

pytestmark = pytest.mark.integration


def replay(platform: Platform, max_bytes: int, reason: str = "too_large") -> Replayed:
    limits = platform.settings.ingest.model_copy(update={"max_bytes": max_bytes})
    settings = platform.settings.model_copy(update={"ingest": limits})
    return replay_rejected.replay(platform.spark, platform.lake, settings, reason, None)


def test_records_that_pass_now_move_once_even_if_the_first_run_was_killed_half_way(
    platform: Platform, producer: EventProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, other = people(2)
    long = {**plain, "event_id": "long", "page": "p" * 40_000}
    longer = {**plain, "event_id": "longer", "page": "p" * 60_000}
    repeated = {**other, "page": "p" * 40_000}
    send(producer, other, long, longer, repeated)
    producer.send_raw(b"no event", None)
    producer.flush()
    platform.ingest()
    before = coordinates(platform.read(EVENTS).unionByName(platform.read(REJECTED_EVENTS), allowMissingColumns=True))
    assert platform.read(REJECTED_EVENTS).where("reason = 'too_large'").count() == 3

    with monkeypatch.context() as patch:
        patch.setattr(replay_rejected, "delete_keys", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            replay(platform, 50_000)
    assert platform.read(EVENTS).where(F.length("page") == 40_000).count() == 1

    assert replay(platform, 50_000) == Replayed(validated=3, moved=0, repeated=1)
    assert replay(platform, 50_000) == Replayed(validated=2, moved=0, repeated=1)
    moved = platform.read(EVENTS).where("event_id = 'long'").collect()
    assert [json.loads(row["raw"]) for row in moved] == [long]
    assert (
        coordinates(platform.read(EVENTS).unionByName(platform.read(REJECTED_EVENTS), allowMissingColumns=True))
        == before
    )

    assert replay(platform, 100_000) == Replayed(validated=2, moved=1, repeated=1)
    send(producer, {**long, "page": "/again"})
    platform.ingest()
    assert platform.read(EVENTS).where("event_id = 'long'").count() == 1, "ingest knows what a replay has moved"


@pytest.mark.parametrize("reason", ["no_such_reason", "duplicate_event_id", "erased_user"])
def test_a_reason_that_cannot_be_mended_is_refused(platform: Platform, reason: str) -> None:
    with pytest.raises(UsageError):
        replay_rejected.replay(
            platform.spark, platform.lake, platform.settings, reason, datetime(2026, 1, 1, tzinfo=UTC)
        )
