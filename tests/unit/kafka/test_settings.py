"""What kafka.* of the settings becomes for either client, and which mistakes are said in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from features.errors import ConfigurationError
from kafka.connection import java_options, librdkafka_options
from kafka.source import beginning, subscription
from settings import KafkaSettings, load_settings


def kafka(*overrides: str) -> KafkaSettings:
    return load_settings("local", [f"kafka.{one}" for one in overrides]).kafka


def test_without_protection_only_the_address_is_told() -> None:
    expected = {"bootstrap.servers": "127.0.0.1:9092", "security.protocol": "PLAINTEXT"}
    assert librdkafka_options(kafka()) == java_options(kafka()) == expected


def test_a_password_is_quoted_for_java_and_printed_as_stars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEHAVIOR_KAFKA__PASSWORD", 'a"b\\c')
    chosen = kafka("security_protocol=SASL_SSL", "sasl_mechanism=SCRAM-SHA-512", "username=me")
    assert java_options(chosen)["sasl.jaas.config"] == (
        'org.apache.kafka.common.security.scram.ScramLoginModule required username="me" password="a\\"b\\\\c";'
    )
    assert librdkafka_options(chosen)["sasl.password"] == 'a"b\\c'
    assert 'a"b' not in repr(chosen)


def test_further_options_win_but_never_over_the_address() -> None:
    chosen = kafka("options={security.protocol: SSL, bootstrap.servers: elsewhere, client.id: me}")
    for options in (librdkafka_options(chosen), java_options(chosen)):
        assert options == {"bootstrap.servers": "127.0.0.1:9092", "security.protocol": "SSL", "client.id": "me"}


def test_an_application_reads_its_topic_or_several_or_a_pattern() -> None:
    assert subscription(kafka("topic=a")) == {"subscribe": "a"}
    assert subscription(kafka("topics=[a, b]")) == {"subscribe": "a,b"}
    assert subscription(kafka("topic_pattern=a.*")) == {"subscribePattern": "a.*"}


def test_a_beginning_is_a_word_a_time_or_an_offset_for_every_partition() -> None:
    assert beginning(kafka()) == {"startingOffsets": "earliest"}
    assert beginning(kafka('starting_offsets={"t": {"0": 5}}')) == {"startingOffsets": '{"t": {"0": 5}}'}
    assert beginning(kafka("starting_offsets=1970-01-01T01:00:00+00:30"))["startingTimestamp"] == "1800000"


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["starting_offsets=yesterday"], "needed earliest, latest, a time with an offset"),
        (["starting_offsets=2026-03-01T00:00:00"], "needed earliest, latest, a time with an offset"),
        (["topic_pattern='a('"], "no regular expression"),
        (["topics=[a]", "topic_pattern=b"], "exclude each other"),
        (["security_protocol=SASL_SSL"], "needs sasl_mechanism"),
        (["sasl_mechanism=PLAIN"], "needs security_protocol SASL_SSL"),
        (["security_protocol=SASL_SSL", "sasl_mechanism=PLAIN", "username=me"], "BEHAVIOR_KAFKA__PASSWORD"),
        (["security_protocol=SSL", "certificate_file=c"], "need each other"),
        (["ca_file=c"], "need security_protocol SSL"),
    ],
)
def test_what_does_not_fit_together_is_said(overrides: list[str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        kafka(*overrides)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        ("hello", "holds no PEM CERTIFICATE"),
        ("-----BEGIN RSA PRIVATE KEY-----", "openssl pkcs8 -topk8"),
    ],
)
def test_a_file_that_holds_no_certificate_is_said_with_its_name(tmp_path: Path, content: str | None, said: str) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigurationError, match=f"kafka.ca_file: {file}.*{said}"):
        librdkafka_options(kafka("security_protocol=SSL", f"ca_file={file}"))
