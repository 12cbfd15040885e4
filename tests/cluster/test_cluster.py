"""The jobs on an existing engine: only conf/ differs. Nothing is lost or doubled when its parts are killed.

The tests of this module follow one another on one lake, as the jobs do.
"""

from __future__ import annotations

import subprocess
from collections import Counter

import pyarrow as pa
import pytest
from confluent_kafka import Consumer, TopicPartition

from features.revisions import latest_in_arrow
from features.tables import ALERTS, EVENTS, FEATURE_TABLE, REJECTED_EVENTS, SCORES, TILES, Table
from kafka.producer import EventProducer
from lake.reader import LakeReader
from settings import load_settings
from tests.cluster.conftest import KEY, REGISTRY_PASSWORD, SECRET, Site
from tests.cluster.programs import kill, until
from tests.integration.secure_kafka import PASSWORD
from tests.integration.test_pipeline import people, send

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(3600)]

EACH = 2500
FEW = ("--set", "stream.max_files_per_trigger=2")
"""So that there are several micro-batches to be killed in."""


def succeeds(done: subprocess.CompletedProcess[str]) -> str:
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-4000:]
    for secret in (KEY, SECRET, PASSWORD, REGISTRY_PASSWORD):
        assert secret not in said
    return said


def killed_in_the_middle(site: Site, job: str, table: Table, *arguments: str) -> None:
    """The driver dies, with all its processes, when it has written and is not done."""
    before = site.commits(table)
    with site.started(job, "--once", *arguments) as driver:
        until(lambda: site.commits(table) > max(before, 0) or driver.poll() is not None, f"{job} writes {table.name}")
        assert driver.poll() is None, f"{job} ended before it could be killed"
        kill(driver)


def places(rows: pa.Table) -> Counter[tuple[int, int]]:
    return Counter(zip(rows["partition"].to_pylist(), rows["offset"].to_pylist(), strict=True))


def test_a_worker_killed_in_the_middle_of_a_batch_costs_nothing(site: Site, producer: EventProducer) -> None:
    send(producer, *people(EACH))
    producer.send_raw(b"no event", None)
    producer.flush()
    with site.started("ingest_events", "--once") as driver:
        until(lambda: site.commits(EVENTS) >= 1 or driver.poll() is not None, "ingest writes events")
        assert driver.poll() is None, "ingest ended before a worker could be killed"
        kill(site.spark.workers[0])
        assert driver.wait(1200) == 0
    assert places(site.read(EVENTS, ["partition", "offset"])) + places(
        site.read(REJECTED_EVENTS, ["partition", "offset"])
    ) == everything(site, EACH + 1)


def everything(site: Site, sent: int) -> Counter[tuple[int, int]]:
    """Each offset of the topic once."""
    ends = ends_of(site)
    assert sum(ends.values()) == sent
    return Counter((number, offset) for number, end in ends.items() for offset in range(end))


def ends_of(site: Site) -> dict[int, int]:
    consumer = Consumer({"bootstrap.servers": site.broker.bootstrap_servers, "group.id": "ends"})
    try:
        return {
            number: consumer.get_watermark_offsets(TopicPartition(site.topic, number), timeout=60)[1]
            for number in range(4)
        }
    finally:
        consumer.close()


def test_a_driver_killed_and_submitted_again_goes_on_where_it_was(site: Site, producer: EventProducer) -> None:
    send(producer, *people(2 * EACH)[EACH:])
    killed_in_the_middle(site, "ingest_events", EVENTS)
    succeeds(site.submit("ingest_events", "--once"))
    killed_in_the_middle(site, "build_features", FEATURE_TABLE, *FEW)
    succeeds(site.submit("build_features", "--once", *FEW))
    judged = places(site.read(EVENTS, ["partition", "offset"]))
    judged += places(site.read(REJECTED_EVENTS, ["partition", "offset"]))
    assert judged == everything(site, 2 * EACH + 1)
    assert "difference" in succeeds(site.submit("check_ledger"))
    succeeds(site.submit("check_parity"))


def test_a_model_is_trained_promoted_and_applied_by_the_remote_registry(site: Site) -> None:
    succeeds(site.submit("train_model"))
    refused = site.submit("promote_model", MLFLOW_TRACKING_PASSWORD="wrong")
    assert refused.returncode == 1
    said = refused.stdout + refused.stderr  # spark-submit prints what Python writes to either on its standard output
    assert "ModelError" in said
    assert "Traceback" not in said
    succeeds(site.submit("promote_model"))
    killed_in_the_middle(site, "score_features", SCORES, *FEW)
    succeeds(site.submit("score_features", "--once", *FEW))
    revisions = [name for name in FEATURE_TABLE.schema.names if name not in ("batch_time", "batch_id")]
    features, scores = (site.read(table, [*revisions, "batch_time", "batch_id"]) for table in (FEATURE_TABLE, SCORES))
    newest = latest_in_arrow(features, FEATURE_TABLE), latest_in_arrow(scores, SCORES)
    assert rows_of(newest[1].select(revisions)) == rows_of(newest[0].select(revisions))
    scored = rows_of(scores.select(revisions))  # of a batch's revisions of a minute the newest alone
    assert scored <= rows_of(features.select(revisions))
    assert max(scored.values()) == 1
    assert max(rows_of(features.select(["user_id", "window_start", "batch_id"])).values()) == 1


def rows_of(table: pa.Table) -> Counter[str]:
    """How often each row is there; a revision of a user's minute differs from the one before it."""
    return Counter(str(row) for row in table.to_pylist())


def test_readers_without_spark_find_the_tables_on_s3(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    succeeds(site.without_spark("raise_alerts", "--once"))
    for name, text in site.env.items():
        if name.startswith(("AWS_", "BEHAVIOR_")):
            monkeypatch.setenv(name, text)
    monkeypatch.setenv("BEHAVIOR_CONF_DIR", str(site.folder / "conf"))
    for name in ("AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ALLOW_HTTP"):
        monkeypatch.setenv(name, "to be restored")
    settings = load_settings("cluster")
    reader = LakeReader(settings.storage.root, seconds=120)
    try:
        assert reader.rows(SCORES).num_rows == site.read(SCORES, ["user_id"]).num_rows
        assert reader.rows(ALERTS).num_rows == site.read(ALERTS, ["user_id"]).num_rows
    finally:
        reader.close()


def test_the_one_pass_takes_the_tables_over_and_goes_on_after_a_kill(site: Site, producer: EventProducer) -> None:
    succeeds(site.submit("change_flow", "--to", "one-pass"))
    send(producer, *people(3 * EACH)[2 * EACH :])
    killed_in_the_middle(site, "run_pipeline", TILES)
    succeeds(site.submit("run_pipeline", "--once"))
    kept = places(site.read(EVENTS, ["partition", "offset"])) + places(
        site.read(REJECTED_EVENTS, ["partition", "offset"])
    )
    assert kept == everything(site, 3 * EACH + 1)
    succeeds(site.submit("check_ledger"))
    assert " 0 differences" in succeeds(site.submit("check_parity", "--all"))
    keys = ["user_id", "window_start"]
    features, scores = (
        latest_in_arrow(site.read(table, [*keys, "session_events", "batch_time", "batch_id"]), table)
        for table in (FEATURE_TABLE, SCORES)
    )
    names = [*keys, "session_events"]
    assert rows_of(features.select(names)) == rows_of(scores.select(names))
    own = [name.rpartition(":")[0] for name in site.read(SCORES, ["batch_id"])["batch_id"].unique().to_pylist()]
    assert len(set(own)) == 2  # of score_features, and of the pass itself
