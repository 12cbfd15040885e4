"""A whole run with kills, rejects, alerts, feedback, patterns and a training; then a person is erased beside it."""

from __future__ import annotations

import os
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.compute as pc
import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from alerts import feedback
from features.tables import ALERTS, EVENTS, REJECTED_EVENTS, SCORES, Table
from kafka.producer import EventProducer
from lake import arrow_tables
from tests.integration.everywhere import contents, files_naming
from tests.integration.whole_run import (
    ALERTS_TOPIC,
    EVENTS_TOPIC,
    PATIENCE,
    job,
    rows_of_anybody,
    running,
    servers,
    until,
)

pytestmark = [pytest.mark.integration, pytest.mark.slow]

PERSON = "person-73f1-to-forget"
THEIRS = [PERSON, "/page-73f1-of-one", "value-73f1-of-one"]
"""The id, and what only they looked at and sent."""
FROM_KAFKA = ("maintenance.erase_from_kafka=all",)


def rows(folder: Path, table: Table, user: str = PERSON) -> int:
    return int(arrow_tables.read(str(folder / "lake"), table, ["user_id"], pc.field("user_id") == user).num_rows)


def behave(producer: EventProducer, seconds: int) -> None:
    """As no other does: many pages in each second; and records that are no events, with and without a key."""
    for second in range(seconds):
        for number in range(6):
            page = f"{THEIRS[1]}/{second}-{number}"
            own = {"user_id": PERSON, "action": "view", "page": page, "properties": {"theirs": THEIRS[2]}}
            producer.send({**own, "timestamp": datetime.now(UTC)})
        producer.send_raw(f'{{"user_id":"{PERSON}","page":"{THEIRS[1]}"'.encode(), None)
        producer.send_raw(f"junk of {PERSON}: {THEIRS[2]}".encode(), b"other")
        producer.send_raw(b"junk without a name", PERSON.encode(), headers=[("who", PERSON.encode())])
        producer.flush()
        time.sleep(1)


def files_roll(kafka: str) -> None:
    """Topics have a file per second or so: what was deleted leaves the broker's disk while the test waits."""
    quick = {"segment.ms": "1000", "file.delete.delay.ms": "0"}
    entries = [ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in quick.items()]
    admin = AdminClient({"bootstrap.servers": kafka})
    for topic in (EVENTS_TOPIC, ALERTS_TOPIC):
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
        for answer in admin.incremental_alter_configs([resource]).values():
            answer.result(30)


@pytest.mark.timeout(3600)
def test_after_kills_rejects_alerts_feedback_patterns_and_a_training_no_byte_of_an_erased_person_is_left(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with running(folder, "first", "--rate", "5") as run:
        until(lambda: rows_of_anybody(folder), "the first scores")
        with EventProducer(servers(folder), EVENTS_TOPIC) as producer:
            behave(producer, 70)
        until(lambda: rows(folder, SCORES) and rows(folder, ALERTS), "an alert about the person")
        alert = arrow_tables.read(str(folder / "lake"), ALERTS, None, pc.field("user_id") == PERSON).to_pylist()[0]
        feedback.record(str(folder / "lake"), alert, is_true=True, note=f"looked at {PERSON}")
        with EventProducer(servers(folder), EVENTS_TOPIC) as producer:
            behave(producer, 8)
        os.killpg(run.pid, signal.SIGKILL)
    left_by_a_killed_worker(folder)
    forget_and_look(folder)


def forget_and_look(folder: Path) -> None:
    """The second run, beside which the person is erased, and what is in all files afterwards."""
    before_the_kill = rows_of_anybody(folder)
    with running(folder, "second", "--rate", "5"):
        until(lambda: rows_of_anybody(folder) > before_the_kill, "scores of the second run")
        with EventProducer(servers(folder), EVENTS_TOPIC, timeout=PATIENCE) as producer:
            behave(producer, 8)
        files_roll(servers(folder))
        job(folder, "mine_patterns", "--day", f"{datetime.now(UTC):%Y-%m-%d}")
        job(folder, "train_model")
        before = files_naming(folder, THEIRS)
        assert all(len(found) > 3 for found in before.values()), before

        said = job(folder, "erase_user", "--user-id", PERSON, more=FROM_KAFKA)
        print(said)
        with EventProducer(servers(folder), EVENTS_TOPIC) as producer:
            count = erased_records(folder)
            behave(producer, 3)  # as if nothing had been
            until(lambda: erased_records(folder) >= count + 3 * 9, "ingest of what came after")
        job(folder, "erase_user", "--user-id", PERSON, more=FROM_KAFKA)
        with EventProducer(servers(folder), EVENTS_TOPIC) as others, EventProducer(servers(folder), ALERTS_TOPIC) as to:

            def nothing_is_left() -> bool:
                for number in range(40):  # a record in each partition: a file ends when the next record comes
                    others.send(
                        {"user_id": f"u{number}", "action": "view", "page": "/", "timestamp": datetime.now(UTC)}
                    )
                others.flush()
                to.send_raw(b"{}", b"nobody")
                to.flush()
                return not any(files_naming(folder / "kafka", THEIRS).values())

            until(nothing_is_left, f"Kafka's files: {files_naming(folder / 'kafka', THEIRS)}")
    found = files_naming(folder, THEIRS)
    assert found == {text: [] for text in THEIRS}
    assert arrow_tables.read(str(folder / "lake"), EVENTS, ["user_id"]).num_rows > 1000


def erased_records(folder: Path) -> int:
    taken = arrow_tables.read(str(folder / "lake"), REJECTED_EVENTS, ["reason"])
    return int(pc.sum(pc.equal(taken["reason"], "erased_user")).as_py() or 0)


def left_by_a_killed_worker(folder: Path) -> None:
    """Files with the person's rows that are in no log, whole and cut off: a kill leaves them by chance only."""
    for table in (EVENTS, SCORES):
        place = folder / "lake" / table.name
        some = next(file for file in place.glob("*.parquet") if holds(file))
        (place / "part-left-whole.snappy.parquet").write_bytes(some.read_bytes())
        (place / "part-left-half.snappy.parquet").write_bytes(some.read_bytes()[:-20])


def holds(file: Path) -> bool:
    return any(PERSON.encode() in part for part in contents(file.name, file.read_bytes()))
