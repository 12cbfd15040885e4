"""What events come from: Kafka, and the RabbitMQ queue that is moved to it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from settings.section import Section


class KafkaSettings(Section):
    """The broker and the topics."""

    embedded: bool = False
    bootstrap_servers: str
    topic: str
    topics: tuple[str, ...] = ()
    topic_pattern: str | None = None
    alerts_topic: str
    partitions: int = Field(4, ge=1)
    starting_offsets: str = "earliest"
    max_offsets_per_trigger: int = Field(500_000, ge=1)
    min_partitions: int | None = Field(None, ge=1)
    fail_on_data_loss: bool = True
    isolation: Literal["read_committed", "read_uncommitted"] = "read_committed"
    away_seconds: int = Field(600, ge=1)
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None = None
    username: str | None = None
    password: SecretStr | None = Field(None, description="of the login; OAUTHBEARER: the client's secret")
    oauth_token_url: str | None = None
    oauth_scope: str | None = None
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    key_password: SecretStr | None = Field(None, description="opens key_file")
    check_hostname: bool = True
    options: dict[str, str] = Field(default_factory=dict)

    @field_validator("starting_offsets", mode="before")
    @classmethod
    def _known_start(cls, value: object) -> str:
        if isinstance(value, Mapping):
            return json.dumps(value)
        text = value.isoformat() if isinstance(value, datetime) else str(value)
        if text in ("earliest", "latest"):
            return text
        try:
            known = isinstance(json.loads(text), dict) if text.startswith("{") else _has_offset(text)
        except ValueError:
            known = False
        if not known:
            raise ValueError(
                "needed earliest, latest, a time with an offset such as 2026-03-01T00:00:00Z, or an offset for every "
                'partition such as {"topic": {"0": 23, "1": -2}} (-2: earliest, -1: latest)'
            )
        return text

    @field_validator("topic_pattern")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"it is no regular expression: {error}") from None
        return value

    @model_validator(mode="after")
    def _fit_together(self) -> KafkaSettings:
        if self.topics and self.topic_pattern is not None:
            raise ValueError("topics and topic_pattern exclude each other: give one of them")
        needs_sasl, has_sasl = self.security_protocol.startswith("SASL"), self.sasl_mechanism is not None
        if needs_sasl and not has_sasl and not any(name.startswith("sasl.") for name in self.options):
            raise ValueError(f"security_protocol {self.security_protocol} needs sasl_mechanism")
        if has_sasl and not needs_sasl:
            raise ValueError("sasl_mechanism needs security_protocol SASL_SSL (or SASL_PLAINTEXT, which hides nothing)")
        if has_sasl and (not self.username or self.password is None):
            raise ValueError(
                "sasl_mechanism needs username (OAUTHBEARER: the client id), and the password (the client's secret) in "
                "the environment as BEHAVIOR_KAFKA__PASSWORD"
            )
        if (self.sasl_mechanism == "OAUTHBEARER") != (self.oauth_token_url is not None):
            raise ValueError("sasl_mechanism OAUTHBEARER and oauth_token_url need each other")
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file need each other")
        if (self.ca_file or self.key_file) and not self.security_protocol.endswith("SSL"):
            raise ValueError("ca_file, certificate_file and key_file need security_protocol SSL or SASL_SSL")
        return self


def _has_offset(text: str) -> bool:
    """Whether it is a time with an offset; ValueError where it is no time."""
    return datetime.fromisoformat(text).tzinfo is not None


class RabbitmqSettings(Section):
    """The queue that bridge_rabbitmq moves to Kafka."""

    host: str
    port: int = Field(5672, ge=1, le=65_535)
    virtual_host: str = "/"
    queue: str = Field(min_length=1)
    username: str
    password: SecretStr | None = Field(None, description="of the login")
    tls: bool = False
    prefetch: int = Field(1000, ge=1, le=65_535)
