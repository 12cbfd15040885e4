"""What is wrong with a setting is said in our words."""

from __future__ import annotations

import pytest

from features.errors import ConfigurationError
from settings import load_settings

WEB = "needed an address such as https://host:8081/path, without a login in it"
SECRET_WEB = "needed: an address such as https://host/path (it is not shown: it may be a secret)"
ZONE = "'Mars' is no time zone; needed: a name such as UTC or Europe/Berlin"
PATTERN = "it is no regular expression: unterminated character set at position 0"
BURST = "burst must be at least max_events, or the longest batch could never be sent"
NUMBER = "Input should be a valid integer, unable to parse string as an integer"


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("alerts.webhook=x", f"Setting alerts.webhook: {SECRET_WEB}."),
        ("collector.max_events=100000", f"Setting collector: {BURST}."),
        ("ingest.schema_registry_url=x", f"Setting ingest.schema_registry_url: {WEB}."),
        ("kafka.security_protocol=SASL_SSL", "Setting kafka: security_protocol SASL_SSL needs sasl_mechanism."),
        ("kafka.topic_pattern='['", f"Setting kafka.topic_pattern: {PATTERN} (found '[')."),
        ("patterns.time_zone=Mars", f"Setting patterns.time_zone: {ZONE} (found 'Mars')."),
        ("serving.port=high", f"Setting serving.port: {NUMBER} (found 'high')."),
        ("serving.prot=80", "Unknown setting serving.prot: see conf/base.yaml for the known ones."),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(override: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_settings("local", [override])
    assert str(refused.value) == sentence
