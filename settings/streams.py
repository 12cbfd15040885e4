"""The streaming queries: what is accepted, sessions and look-backs, micro-batches, metrics and log lines."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import AwareDatetime, Field, SecretStr, model_validator

from settings.section import Section, WebAddress


class IngestSettings(Section):
    """What is accepted as an event."""

    trigger: str | None = None
    max_bytes: int = Field(32_768, ge=64)
    max_batch_bytes: int = Field(1_048_576, ge=64)
    max_depth: int = Field(32, ge=1)
    oldest: AwareDatetime
    max_future_seconds: int = Field(3600, ge=0)
    max_late_seconds: int | None = Field(None, ge=0)
    dedupe_window_seconds: int = Field(3600, ge=0)
    unpack: tuple[Literal["gzip", "zstd", "lz4"], ...] = ()
    schema_registry_url: WebAddress | None = None
    schema_registry_username: str | None = None
    schema_registry_password: SecretStr | None = Field(None, description="of the login")
    schema_registry_ca_file: str | None = None
    schema_registry_away_seconds: int = Field(600, ge=1)
    mappings: dict[str, str | dict[str, Any]] = Field(default_factory=dict)
    pseudonymise: bool = False
    pseudonymise_fields: tuple[Literal["ip", "user_agent", "device_id"], ...] = ()


class FeatureSettings(Section):
    """Sessions and look-backs, in minutes, and whether an anonymous past is linked to a user."""

    session_gap_minutes: int = Field(30, ge=1)
    session_max_minutes: int = Field(480, ge=2)
    own_past_minutes: int = Field(1440, ge=1)
    link_identities: bool = True

    @model_validator(mode="after")
    def _ordered(self) -> FeatureSettings:
        if self.session_max_minutes <= self.session_gap_minutes:
            raise ValueError("session_max_minutes must be longer than session_gap_minutes")
        if self.own_past_minutes < self.session_max_minutes:
            raise ValueError("own_past_minutes must be at least session_max_minutes")
        return self


class ScoreSettings(Section):
    """Scoring."""

    max_reasons: int = Field(3, ge=1)
    shadow: bool = False


class StreamSettings(Section):
    """Micro-batches."""

    trigger: str = "0 seconds"
    max_files_per_trigger: int = Field(1000, ge=1)
    fenced: bool = True


class MetricsSettings(Section):
    """Where a streaming job answers Prometheus."""

    host: str = "127.0.0.1"
    port: int = Field(0, ge=0, le=65_535)


class LogSettings(Section):
    """How log lines look."""

    format: Literal["text", "json"] = "text"
