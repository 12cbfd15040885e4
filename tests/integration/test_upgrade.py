"""Tables that an older version made get the columns that they lack when they are opened, and lose nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from features.context import CONTEXT_FIELDS
from features.tables import EVENTS
from kafka.producer import EventProducer
from lake import arrow_tables
from lake.spark_tables import Lake
from tests.integration.conftest import Platform
from tests.integration.test_identities import ALL, STREAM, links, parity, session_events
from tests.integration.test_pipeline import people, send
from tests.integration.test_rebuild_events import content, rebuild

pytestmark = pytest.mark.integration

NEW = (*CONTEXT_FIELDS, "invalid_fields", "part", "parts")


def of_before(platform: Platform, root: Path) -> Platform:
    """The platform as an older version left it: its events without a context, at another place."""
    rows = platform.read(EVENTS).drop(*NEW)
    rows.write.format("delta").save(f"{root}/{EVENTS.name}")
    storage = platform.settings.storage.model_copy(update={"root": str(root)})
    settings = platform.settings.model_copy(update={"storage": storage})
    return Platform(platform.spark, Lake(platform.spark, str(root)), settings)


@pytest.mark.parametrize("is_by_workers", [True, False], ids=["deltalake", "java"])
def test_events_of_before_are_read_written_beside_new_ones_and_given_their_context(
    platform: Platform, producer: EventProducer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_by_workers: bool
) -> None:
    sent = people(400)
    send(producer, *sent[:300])
    platform.ingest()
    known, old = content(platform, EVENTS), of_before(platform, tmp_path / "older")
    with monkeypatch.context() as patch:
        if not is_by_workers:
            patch.setattr(Lake, "takes_files", property(lambda _: False))
        old.lake.create()
        version = old.lake.version(EVENTS)
        old.lake.create()
        assert old.lake.version(EVENTS) == version, "what lacks nothing is left alone"
    assert set(old.read(EVENTS).columns) == set(EVENTS.columns)
    assert old.read(EVENTS).where("ip IS NOT NULL OR outcome IS NOT NULL").isEmpty()

    send(producer, *sent[300:])
    old.ingest()  # by the same checkpoint
    assert old.read(EVENTS).count() == 400
    rebuilt = rebuild(old)
    says = sum("ip" in event for event in sent[:300])
    assert (rebuilt.to_rejected, rebuilt.changed) == (0, says)
    assert set(known) < set(content(old, EVENTS))


def test_links_of_before_are_told_once_the_events_have_their_column(
    platform: Platform, producer: EventProducer, tmp_path: Path
) -> None:
    send(producer, *STREAM)
    platform.ingest()
    old = of_before(platform, tmp_path / "older")
    old.lake.create()
    old.build()
    assert links(old) == []
    assert parity(old) == (0, 0)
    rebuild(old)
    assert parity(old, repair=True) == (4, 1)  # a link, and the three rows of the user that it changes
    assert links(old) == [("ada", "x")]
    assert session_events(old) == ALL
    assert parity(old) == (0, 0)


def test_a_process_without_spark_adds_them_too(platform: Platform, producer: EventProducer, tmp_path: Path) -> None:
    send(producer, *people(50))
    platform.ingest()
    old = of_before(platform, tmp_path / "older")
    there = arrow_tables.opened(old.settings.storage.root, EVENTS)
    assert set(there.schema.names) == set(EVENTS.columns)
    assert there.delta.to_pyarrow_table(columns=["user_id", "ip"])["ip"].null_count == 50
