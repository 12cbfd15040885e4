"""Settings: conf/base.yaml, then conf/ENV.yaml, then environment variables ``BEHAVIOR_SECTION__KEY``, then ``--set``.

Unknown keys are refused by name; secrets come from the environment only and print as stars.
"""

from __future__ import annotations

from settings.alerts import AlertSettings
from settings.errors import may_quote
from settings.journeys import JourneySettings
from settings.loading import PROJECT, configuration_folder, load_settings, local_overrides
from settings.maintenance import MaintenanceSettings
from settings.models import DriftSettings, GateSettings, ModelSettings, PatternSettings
from settings.online import OnlineSettings
from settings.section import Section
from settings.serving import AuditSettings, CollectorSettings, OidcSettings, ServingSettings
from settings.settings import Settings
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

__all__ = [
    "PROJECT",
    "AlertSettings",
    "AuditSettings",
    "CollectorSettings",
    "DriftSettings",
    "FeatureSettings",
    "GateSettings",
    "IngestSettings",
    "JourneySettings",
    "KafkaSettings",
    "LogSettings",
    "MaintenanceSettings",
    "MetricsSettings",
    "ModelSettings",
    "OidcSettings",
    "OnlineSettings",
    "PatternSettings",
    "RabbitmqSettings",
    "S3Settings",
    "ScoreSettings",
    "Section",
    "ServingSettings",
    "Settings",
    "SparkSettings",
    "StorageSettings",
    "StreamSettings",
    "configuration_folder",
    "load_settings",
    "local_overrides",
    "may_quote",
]
