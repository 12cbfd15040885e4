"""Kafka as companies run it: encrypted, with certificates and logins; each as the producer and as Spark see it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession

from features.errors import EnvironmentProblem
from kafka import guard as kafka_guard
from kafka import source
from kafka.guard import KafkaGuard
from kafka.producer import producer_from
from lake.spark_tables import Lake
from settings import Settings, load_settings
from tests.integration.secure_kafka import PASSWORD, USER, SecureBroker, token_service

pytestmark = pytest.mark.integration

TOPIC = "events"


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureBroker]:
    with token_service() as tokens, SecureBroker(tmp_path_factory.mktemp("secure"), tokens) as broker:
        broker.create_topic(TOPIC, 1)
        broker.add_user()
        yield broker


def settings_for(secure: SecureBroker, folder: Path, protocol: str, *more: str) -> Settings:
    tls = [f"kafka.ca_file={secure.certificates.authority}"] if protocol.endswith("SSL") else []
    return load_settings(
        "local",
        [
            f"storage.root={folder}/lake",
            f"storage.checkpoints={folder}/checkpoints",
            f"kafka.topic={TOPIC}",
            f"kafka.bootstrap_servers=127.0.0.1:{secure.ports[protocol]}",
            f"kafka.security_protocol={protocol}",
            *tls,
            *more,
        ],
    )


def there_and_back(spark: SparkSession, settings: Settings, value: bytes) -> bool:
    """Whether what the producer sends is what Spark reads, after the guard has asked the broker, too."""
    with producer_from(settings.kafka) as producer:
        producer.send_raw(value, None)
    KafkaGuard(spark, Lake(spark, settings.storage.root), settings, "query").check()
    found: list[bytes] = []

    def keep(rows: DataFrame, _: int) -> None:
        found.extend(bytes(row[0]) for row in rows.select("value").collect())

    stream = source.read_stream(spark, settings.kafka).writeStream.foreachBatch(keep).trigger(availableNow=True)
    stream.option("checkpointLocation", f"{settings.storage.checkpoints}/query").start().awaitTermination()
    return value in found


def test_with_certificates_of_both_sides(spark: SparkSession, secure: SecureBroker, tmp_path: Path) -> None:
    own = secure.certificates
    more = [f"kafka.certificate_file={own.client}", f"kafka.key_file={own.client_key}"]
    assert there_and_back(spark, settings_for(secure, tmp_path, "SSL", *more), b"certificates")


@pytest.mark.parametrize(
    ("protocol", "mechanism"),
    [("SASL_SSL", "PLAIN"), ("SASL_SSL", "SCRAM-SHA-512"), ("SASL_PLAINTEXT", "SCRAM-SHA-256")],
)
def test_with_a_name_and_a_password(
    spark: SparkSession,
    secure: SecureBroker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    protocol: str,
    mechanism: str,
) -> None:
    monkeypatch.setenv("BEHAVIOR_KAFKA__PASSWORD", PASSWORD)
    monkeypatch.setenv("BEHAVIOR_KAFKA__USERNAME", USER)
    settings = settings_for(secure, tmp_path, protocol, f"kafka.sasl_mechanism={mechanism}")
    assert PASSWORD not in repr(settings)
    assert there_and_back(spark, settings, mechanism.encode())


def token_settings(secure: SecureBroker, folder: Path) -> Settings:
    more = [
        "kafka.sasl_mechanism=OAUTHBEARER",
        f"kafka.username={USER}",
        f"kafka.oauth_token_url={secure.tokens.url}",
        "kafka.oauth_scope=events",
    ]
    return settings_for(secure, folder, "SASL_SSL", *more)


def test_with_a_token(
    spark: SparkSession, secure: SecureBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEHAVIOR_KAFKA__PASSWORD", "secret")
    assert there_and_back(spark, token_settings(secure, tmp_path), b"token")
    assert secure.tokens.given
    assert all("scope=events" in asked for asked in secure.tokens.given)


@pytest.mark.parametrize("wrong", ["password", "authority"])
def test_a_broker_that_refuses_us_is_one_sentence_with_the_cause(
    spark: SparkSession, secure: SecureBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    monkeypatch.setattr(kafka_guard, "ANSWER_SECONDS", 5)
    monkeypatch.setenv("BEHAVIOR_KAFKA__PASSWORD", "wrong" if wrong == "password" else PASSWORD)
    other = [f"kafka.ca_file={secure.certificates.client}"] if wrong == "authority" else []
    settings = settings_for(
        secure, tmp_path, "SASL_SSL", "kafka.sasl_mechanism=PLAIN", f"kafka.username={USER}", *other
    )
    guard = KafkaGuard(spark, Lake(spark, settings.storage.root), settings, "query")
    with pytest.raises(EnvironmentProblem, match="uthentication" if wrong == "password" else "certificate"):
        guard.check()
