"""Validating everything again brings out the same tables, and what the rules of now say where they have changed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from delta.tables import DeltaTable
from pydantic import SecretStr
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.rebuilding import CONTENT
from features.tables import ERASURES, EVENTS, REJECTED_EVENTS, Table
from jobs import rebuild_events
from jobs.rebuild_events import Rebuilt
from kafka.producer import EventProducer
from privacy.pseudonyms import keyed_hash_of
from tests.integration.conftest import Platform
from tests.integration.test_pipeline import people, send
from tests.integration.test_replay_rejected import replay

pytestmark = pytest.mark.integration

KEY = "a secret of sixteen bytes"


def with_rules(platform: Platform, **changes: Any) -> Platform:
    rules = platform.settings.ingest.model_copy(update=changes)
    return Platform(platform.spark, platform.lake, platform.settings.model_copy(update={"ingest": rules}))


def rebuild(platform: Platform, **rules: Any) -> Rebuilt:
    changed = with_rules(platform, **rules)
    return rebuild_events.rebuild(changed.spark, changed.lake, changed.settings)


def content(platform: Platform, table: Table) -> list[str]:
    """Every row but for the name of its writer, in order of place."""
    names = [name for name in table.columns if name in CONTENT[table.name] or name in ("topic", "partition", "offset")]
    rows: DataFrame = platform.read(table).select(F.to_json(F.struct(*names)).alias("row"))
    return sorted(row["row"] for row in rows.collect())


def test_the_same_rules_write_nothing_and_other_rules_can_be_taken_back_even_if_killed_half_way(
    platform: Platform, producer: EventProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = people(300)
    long = {**sent[0], "event_id": "long", "page": "p" * 40_000}
    send(producer, *sent, sent[1], sent[2], long)
    for bad in (
        b"",
        b"not json",
        b'{"user_id": 5}',
        b"\xff",
        json.dumps({**sent[3], "x": [1.50, {"a": None}]}).encode(),
    ):
        producer.send_raw(bad, b"k", headers=[("from", b"\x00test")])
    producer.flush()
    platform.ingest()
    assert replay(platform, 50_000).moved == 1
    wide = {"max_bytes": 50_000}
    before = (content(platform, EVENTS), content(platform, REJECTED_EVENTS))
    versions = (platform.lake.version(EVENTS), platform.lake.version(REJECTED_EVENTS))
    assert rebuild(platform, **wide) == Rebuilt(validated=308, to_events=0, to_rejected=0, changed=0, kept=0)
    assert (platform.lake.version(EVENTS), platform.lake.version(REJECTED_EVENTS)) == versions

    events = DeltaTable.forPath(platform.spark, platform.lake.path(EVENTS))
    events.update("offset % 7 = 0", {"page": F.lit("changed"), "properties": F.lit(None)})
    middle = int(platform.read(EVENTS).agg(F.median(F.octet_length("raw"))).collect()[0][0])
    narrow = rebuild(platform, max_bytes=middle)
    assert narrow.to_rejected > 50
    assert narrow.to_events == 0
    assert narrow.changed > 10
    assert platform.read(EVENTS).where("page = 'changed'").count() == 0
    assert platform.read(EVENTS).where(F.octet_length("raw") > middle).count() == 0

    with monkeypatch.context() as patch:
        patch.setattr(rebuild_events, "delete_keys", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            rebuild(platform, **wide)
    assert platform.read(EVENTS).count() + platform.read(REJECTED_EVENTS).count() > 308, "the kill came too early"
    rebuild(platform, **wide)
    assert (content(platform, EVENTS), content(platform, REJECTED_EVENTS)) == before


@pytest.mark.slow
def test_a_duplicate_takes_the_place_of_an_event_that_passes_no_more(
    platform: Platform, producer: EventProducer
) -> None:
    one, other = people(2)
    send(producer, {**one, "page": "p" * 500}, one, other)
    platform.ingest()
    assert platform.read(EVENTS).count() == 2
    assert rebuild(platform, max_bytes=600) == Rebuilt(validated=3, to_events=1, to_rejected=1, changed=0, kept=0)
    found = {row["event_id"]: row["page"] for row in platform.read(EVENTS).select("event_id", "page").collect()}
    assert found == {event["event_id"]: event["page"] for event in (one, other)}
    assert rebuild(platform).to_events == 0, "the first one is a duplicate now"
    assert {row["reason"] for row in platform.read(REJECTED_EVENTS).collect()} == {"duplicate_event_id"}


@pytest.mark.slow
def test_erased_people_do_not_come_back_and_what_has_no_bytes_stays_as_it_is(
    platform: Platform, producer: EventProducer
) -> None:
    secret = platform.settings.model_copy(update={"pseudonym_key": SecretStr(KEY)})
    known = Platform(platform.spark, platform.lake, secret)
    send(producer, *people(20))
    with_rules(known, pseudonymise=True).ingest()
    hidden = content(known, EVENTS)
    assert rebuild(known) == Rebuilt(validated=0, to_events=0, to_rejected=0, changed=0, kept=20)
    assert content(known, EVENTS) == hidden

    erased, other = people(2, seed=9)
    other["user_id"] = "somebody else"
    send(producer, erased, other)
    known.ingest()
    row = (keyed_hash_of(str(erased["user_id"]), KEY.encode()), "requested", datetime.now(UTC), None)
    known.lake.append(known.spark.createDataFrame([row], ERASURES.schema), ERASURES, batch_id="test")
    assert rebuild(known) == Rebuilt(validated=2, to_events=0, to_rejected=1, changed=0, kept=20)
    (gone,) = known.read(REJECTED_EVENTS).collect()
    assert (gone["reason"], gone["raw"], gone["kafka_key"]) == ("erased_user", None, None)
    assert known.read(EVENTS).count() == 21
