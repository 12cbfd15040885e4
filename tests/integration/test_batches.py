"""Records that hold several events: each is a row at a place of its own, whatever happens to the others."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from delta.tables import DeltaTable
from pyspark.sql import functions as F

from features.schemas.shipped import SHIPPED
from features.tables import EVENTS, REJECTED_EVENTS, Table
from jobs import check_ledger, rebuild_events, replay_rejected
from jobs.rebuild_events import Rebuilt
from jobs.replay_rejected import Replayed
from kafka.ledger import LOST, Entry, audit
from kafka.producer import EventProducer
from lake.rewrites import alone
from privacy.mentions import People
from privacy.table_rows import remove_rows
from tests.integration.conftest import Platform
from tests.integration.test_pipeline import people
from tests.integration.test_rebuild_events import content, with_rules

pytestmark = pytest.mark.integration
SENT = people(12)
Place = tuple[int | None, int | None, str | None]
"""Which event of how many, and why it is none."""


def sent(producer: EventProducer) -> None:
    """One event, an array of five of which one is none and one is sent again, an object around six, and no event."""
    around = [{**event, "page": None} if number == 2 else event for number, event in enumerate(SENT[5:11])]
    values: list[Any] = [SENT[0], [SENT[1], SENT[2], 5, SENT[0], SENT[4]], {"tenant": "t", "events": around}]
    for value in values:
        producer.send_raw(json.dumps(value).encode(), b"key", headers=[("trace", b"x")])
    producer.send_raw(b"no event", b"key")
    producer.flush()


ROWS: list[Place] = [
    (None, None, None), (None, None, "not_json"),
    (1, 5, None), (2, 5, None), (3, 5, "not_an_object"), (4, 5, "duplicate_event_id"), (5, 5, None),
    (1, 6, None), (2, 6, None), (3, 6, "missing_field"), (4, 6, None), (5, 6, None), (6, 6, None),
]  # fmt: skip
EVENTS_SENT = sum(reason is None for *_, reason in ROWS)


def rows(platform: Platform) -> list[Place]:
    names = ("part", "parts", "reason")
    events = platform.read(EVENTS).withColumn("reason", F.lit(None).cast("string")).select(*names)
    found = events.unionByName(platform.read(REJECTED_EVENTS).select(*names)).collect()
    return sorted((tuple(row) for row in found), key=str)


def entries(platform: Platform) -> list[Entry]:
    return audit(platform.spark, platform.lake, platform.settings)


def difference(platform: Platform) -> int:
    return sum(entry.difference for entry in entries(platform))


def both(platform: Platform) -> tuple[list[str], list[str]]:
    return content(platform, EVENTS), content(platform, REJECTED_EVENTS)


def delta(platform: Platform, table: Table) -> DeltaTable:
    return DeltaTable.forPath(platform.spark, platform.lake.path(table))


def test_each_event_of_a_record_is_counted_once_and_one_that_is_lost_comes_back(
    platform: Platform, producer: EventProducer
) -> None:
    sent(producer)
    platform.ingest()
    assert rows(platform) == sorted(ROWS, key=str)
    found = platform.read(EVENTS).where("parts = 6").collect()
    assert {row["properties"]["tenant"] for row in found} == {"t"}
    assert {json.loads(row["raw"])["event_id"] for row in found} == {row["event_id"] for row in found}
    whole = entries(platform)
    assert sum(len(entry.account.read) for entry in whole) == 4
    assert sum(entry.account.events for entry in whole) == EVENTS_SENT
    assert (sum(entry.account.duplicates for entry in whole), sum(entry.account.rejected for entry in whole)) == (1, 3)
    assert difference(platform) == 0

    platform.forget_last_commit("ingest_events")
    platform.ingest()
    assert rows(platform) == sorted(ROWS, key=str), "a batch that runs again brings no event twice"

    before = both(platform)
    again = platform.read(EVENTS).where("parts = 6 AND part = 1").withColumn("ingest_id", F.lit("x:0"))
    platform.lake.append(again, EVENTS, batch_id="x:0")
    assert sum(entry.account.twice for entry in entries(platform)) == difference(platform) == 1
    delta(platform, EVENTS).delete("ingest_id = 'x:0'")
    delta(platform, EVENTS).delete("parts = 5 AND part IN (2, 5)")
    delta(platform, REJECTED_EVENTS).delete("parts = 6")
    assert sum(entry.missing[LOST].offsets for entry in entries(platform)) == difference(platform) == 2
    _, back = check_ledger.repair(platform.spark, platform.lake, platform.settings)
    assert back == 3, "what was there of the records stays as it is"
    assert difference(platform) == 0
    assert rows(platform) == sorted(ROWS, key=str)
    assert {row.split('"ingested_at"')[0] for row in both(platform)[0]} == {
        row.split('"ingested_at"')[0] for row in before[0]
    }


def test_validated_again_each_is_what_it_was_and_only_the_erased_one_goes(
    platform: Platform, producer: EventProducer
) -> None:
    sent(producer)
    platform.ingest()
    known = platform.read(EVENTS).collect()
    before, versions = both(platform), (platform.lake.version(EVENTS), platform.lake.version(REJECTED_EVENTS))
    nothing = Rebuilt(validated=len(ROWS), to_events=0, to_rejected=0, changed=0, kept=0)
    assert rebuild_events.rebuild(platform.spark, platform.lake, platform.settings) == nothing
    assert (platform.lake.version(EVENTS), platform.lake.version(REJECTED_EVENTS)) == versions
    delta(platform, EVENTS).update("part = 2", {"page": F.lit("changed")})
    done = rebuild_events.rebuild(platform.spark, platform.lake, platform.settings)
    assert (done.changed, both(platform)) == (2, before)

    (person,) = (row["user_id"] for row in platform.read(EVENTS).where("parts = 6 AND part = 1").collect())
    theirs = {event["event_id"] for event in SENT if event["user_id"] == person}
    with alone(platform.spark, platform.settings, "erase_user"):
        remove_rows(platform.lake, EVENTS, People([person]), platform.settings.maintenance)
    assert difference(platform) == 0
    left = {row["event_id"] for row in platform.read(EVENTS).collect()}
    assert left == {row["event_id"] for row in known} - theirs
    counts = Counter(reason for *_, reason in rows(platform))
    assert counts["erased_user"] == len(known) - len(left) > 0


@pytest.mark.parametrize("job", ["replay_rejected", "rebuild_events"])
def test_a_record_that_was_rejected_as_a_whole_becomes_its_events_even_if_killed_half_way(
    platform: Platform, producer: EventProducer, monkeypatch: pytest.MonkeyPatch, job: str
) -> None:
    sent(producer)
    with_rules(platform, max_bytes=450, max_batch_bytes=450).ingest()
    assert {reason for part, _, reason in rows(platform) if part is None} == {None, "too_large", "not_json"}
    assert difference(platform) == 0

    def run() -> Replayed | Rebuilt:
        if job == "rebuild_events":
            return rebuild_events.rebuild(platform.spark, platform.lake, platform.settings)
        return replay_rejected.replay(platform.spark, platform.lake, platform.settings, "too_large", None)

    with monkeypatch.context() as patch:
        patch.setattr(f"jobs.{job}.delete_keys", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run()
    assert difference(platform) == 2, "until the next run they are there as a whole, too"
    run()
    assert difference(platform) == 0
    assert rows(platform) == sorted(ROWS, key=str)
    again = run()
    done = Replayed(0, 0, 0) if isinstance(again, Replayed) else Rebuilt(len(ROWS), 0, 0, 0, 0)
    assert again == done


def test_what_was_one_event_and_is_several_by_the_mapping_of_now_leaves_its_place_to_them(
    platform: Platform, producer: EventProducer
) -> None:
    inner = [{"userId": f"u{number}", "event": "Seen", "timestamp": "2026-03-01T12:00:00Z"} for number in range(3)]
    value = {"userId": "u", "event": "Batch", "timestamp": "2026-03-01T12:00:00Z", "batch": inner}
    producer.send_raw(json.dumps(value).encode(), b"key")
    producer.flush()
    topic = platform.settings.kafka.topic
    as_one = {name: one for name, one in SHIPPED["segment"].items() if name != "batch"}
    with_rules(platform, mappings={topic: as_one}).ingest()
    assert rows(platform) == [(None, None, None)]
    now = with_rules(platform, mappings={topic: "segment"})
    done = rebuild_events.rebuild(now.spark, now.lake, now.settings)
    assert (done.to_events, done.changed) == (3, 1)
    assert rows(platform) == [(1, 3, None), (2, 3, None), (3, 3, None)]
    assert difference(platform) == 0
    assert rebuild_events.rebuild(now.spark, now.lake, now.settings) == Rebuilt(3, 0, 0, 0, 0)


def test_a_repair_by_other_rules_adds_nothing_beside_what_is_there(platform: Platform, producer: EventProducer) -> None:
    sent(producer)
    platform.ingest()
    delta(platform, EVENTS).delete("parts = 5 AND part = 2")
    narrow = with_rules(platform, max_bytes=450, max_batch_bytes=450)
    entries_before, back = check_ledger.repair(narrow.spark, narrow.lake, narrow.settings)
    assert (sum(entry.difference for entry in entries_before), back) == (1, 0)
    assert difference(platform) == 1, "it is still missing, and nothing is there twice"
    _, back = check_ledger.repair(platform.spark, platform.lake, platform.settings)
    assert (back, difference(platform)) == (1, 0)
