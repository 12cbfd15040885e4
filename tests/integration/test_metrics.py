"""What Prometheus reads from a running job."""

from __future__ import annotations

import socket
import time
from datetime import UTC, datetime, timedelta
from urllib.request import urlopen

import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from jobs import promote_model, train_model
from kafka.producer import EventProducer
from simulation import Scenario, simulate
from telemetry.metrics import lag_of
from tests.integration.conftest import Platform

pytestmark = pytest.mark.integration


def series(port: int) -> dict[str, float]:
    """All series by name and labels."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        return {
            one.name + "".join(f" {value}" for value in one.labels.values()): one.value
            for family in families
            for one in family.samples
        }


def test_a_job_tells_its_batches_its_rejected_records_its_verdicts_and_its_model(
    platform: Platform, producer: EventProducer
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    told = platform.settings.metrics.model_copy(update={"port": port})
    watched = Platform(platform.spark, platform.lake, platform.settings.model_copy(update={"metrics": told}))
    before = REGISTRY.get_sample_value("behavior_rejected_records_total", {"reason": "not_json"}) or 0.0
    people = simulate(Scenario(datetime(2026, 3, 1, tzinfo=UTC), rate=2.0, duration=timedelta(hours=1), seed=5))
    for _, event in zip(range(600), people, strict=False):
        producer.send(event)
    producer.send_raw(b"no event", b"k")
    producer.flush()
    watched.ingest()
    watched.build()
    version = train_model.train(watched.spark, watched.lake, watched.settings)
    promote_model.promote(watched.settings, version, why="test")
    watched.score()

    end = time.monotonic() + 60
    wanted = f"behavior_model_version user_behavior_anomaly_model {version}"
    while not ({"behavior_batch_rows score_features", wanted} <= set(found := series(port))) or not any(
        found.get(f"behavior_scored_rows_total {verdict}", 0) for verdict in ("normal", "anomaly")
    ):
        assert time.monotonic() < end, sorted(found)
    assert found["behavior_rejected_records_total not_json"] - before == 1
    assert found["behavior_query_running ingest_events"] in (0, 1)
    assert found["behavior_batch_step_seconds ingest_events write"] > 0
    assert found["behavior_score_delay_seconds_count"] >= 1
    topic = watched.settings.kafka.topic
    lags = [value for name, value in found.items() if name.startswith("behavior_kafka_lag_offsets") and topic in name]
    assert lags == [0, 0, 0, 0]


def test_lag_counts_offsets_that_wait_and_knows_only_kafka() -> None:
    source = {"latestOffset": {"events": {"0": 12, "1": 5}}, "endOffset": {"events": {"0": 10}}}
    assert lag_of(source) == {("events", "0"): 2, ("events", "1"): 5}
    assert lag_of({"latestOffset": None, "endOffset": {"reservoirVersion": 3}}) == {}
