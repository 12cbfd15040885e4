"""All settings of one run, section by section."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from settings.alerts import AlertSettings
from settings.journeys import JourneySettings
from settings.maintenance import MaintenanceSettings
from settings.models import DriftSettings, GateSettings, ModelSettings, PatternSettings
from settings.online import OnlineSettings
from settings.serving import AuditSettings, CollectorSettings, OidcSettings, ServingSettings
from settings.sinks import SinkSettings
from settings.sources import KafkaSettings, RabbitmqSettings
from settings.storage import S3Settings, SparkSettings, StorageSettings
from settings.streams import (
    FeatureSettings,
    IngestSettings,
    LogSettings,
    MetricsSettings,
    ScoreSettings,
    StreamSettings,
)


class Settings(BaseSettings):
    """All settings of one run."""

    model_config = SettingsConfigDict(
        env_prefix="BEHAVIOR_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    env: str
    storage: StorageSettings
    s3: S3Settings
    spark: SparkSettings
    kafka: KafkaSettings
    rabbitmq: RabbitmqSettings
    ingest: IngestSettings
    features: FeatureSettings
    model: ModelSettings
    gate: GateSettings
    drift: DriftSettings
    score: ScoreSettings
    alerts: AlertSettings
    sinks: SinkSettings
    online: OnlineSettings
    stream: StreamSettings
    patterns: PatternSettings
    journeys: JourneySettings
    maintenance: MaintenanceSettings
    serving: ServingSettings
    metrics: MetricsSettings
    log: LogSettings
    collector: CollectorSettings
    audit: AuditSettings
    oidc: OidcSettings
    api_token: SecretStr | None = Field(None, description="key of the server that may all; 16 characters or more")
    sender_token: SecretStr | None = Field(None, description="key that may send events, and nothing else")
    reader_token: SecretStr | None = Field(None, description="key that sees page, people, alerts, predictions, metrics")
    analyst_token: SecretStr | None = Field(None, description="key that sees what readers see, and gives feedback")
    api_token_file: str | None = Field(
        None, description="file with keys that may all, one a line; read anew when changed"
    )
    sender_token_file: str | None = Field(None, description="... with keys of senders")
    reader_token_file: str | None = Field(None, description="... with keys of readers")
    analyst_token_file: str | None = Field(None, description="... with keys of analysts")
    model_key: SecretStr | None = Field(
        None, description="signs the models that are registered; needed where they are trained, and nowhere else"
    )
    pseudonym_key: SecretStr | None = Field(
        None, description="key of the hashes of erase_user and ingest.pseudonymise; never change or lose it"
    )

    @property
    def online_path(self) -> str:
        """The file of the online view: it belongs to its tables, and lies beside them unless conf says otherwise."""
        root = self.storage.root.removeprefix("file://")
        beside = Path(".local" if "://" in root else Path(root).parent, "online.db")
        return self.online.path or str(beside)
