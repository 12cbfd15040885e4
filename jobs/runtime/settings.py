"""Settings: conf/base.yaml, then conf/ENV.yaml, then environment variables ``BEHAVIOR_SECTION__KEY``, then ``--set``.

Unknown keys are refused by name; secrets come from the environment only and print as stars.
"""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import available_timezones

import yaml
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from features.errors import ConfigurationError
from jobs.runtime import object_store

PROJECT = Path(__file__).resolve().parents[2]
"""Folder that holds ``conf/``; with spark-submit --py-files this is the zip, see :func:`configuration_folder`."""


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class S3Settings(Section):
    """The store behind ``s3a://``; credentials are in the environment, see jobs.runtime.object_store."""

    endpoint: Annotated[str, Field(pattern=r"^https?://[^/\s@]+/?$")] | None = None
    region: str | None = None
    path_style: bool = False


class StorageSettings(Section):
    """Where tables and checkpoints live."""

    root: str
    checkpoints: str
    snapshot_partitions: int = Field(50, ge=1)


class SparkSettings(Section):
    """The Spark session; under spark-submit only what is not null or empty is set."""

    master: str | None = None
    app_name: str = "user-behavior-analysis"
    shuffle_partitions: int = Field(200, ge=1)
    driver_memory: str | None = None
    java_options: str | None = None
    jars: str | None = None
    conf: dict[str, str] = {}


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
    options: dict[str, str] = {}

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


class IngestSettings(Section):
    """What is accepted as an event."""

    trigger: str | None = None
    max_bytes: int = Field(32_768, ge=64)
    max_depth: int = Field(32, ge=1)
    oldest: AwareDatetime
    max_future_seconds: int = Field(3600, ge=0)
    max_late_seconds: int | None = Field(None, ge=0)
    dedupe_window_seconds: int = Field(3600, ge=0)
    pseudonymise: bool = False


class FeatureSettings(Section):
    """Sessions and look-backs, in minutes."""

    session_gap_minutes: int = Field(30, ge=1)
    session_max_minutes: int = Field(480, ge=2)
    own_past_minutes: int = Field(1440, ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> FeatureSettings:
        if self.session_max_minutes <= self.session_gap_minutes:
            raise ValueError("session_max_minutes must be longer than session_gap_minutes")
        if self.own_past_minutes < self.session_max_minutes:
            raise ValueError("own_past_minutes must be at least session_max_minutes")
        return self


class ModelSettings(Section):
    """Training, registry and thresholds."""

    name: str
    tracking_uri: str
    experiment: str
    preset: str = "default"
    trees: int = Field(240, ge=1)
    subsample: int = Field(64, ge=2)
    seed: int = 17
    min_session_events: int = Field(5, ge=1)
    flagged_share: float = Field(0.01, gt=0, lt=1)
    min_training_rows: int = Field(200, ge=10)
    max_training_rows: int = Field(250_000, ge=100)
    driver_memory: str | None = None
    trial_users: int = Field(1000, ge=100)
    strict_libraries: bool = True
    public_key: str | None = None
    require_signature: bool | None = None


class GateSettings(Section):
    """How far a challenger may be from the champion; see training.gate."""

    days: int = Field(7, ge=1)
    rows: int = Field(20_000, ge=100)
    max_flagged_share_change: float = Field(0.02, ge=0, le=1)
    min_top_overlap: float = Field(0.2, ge=0, le=1)
    min_rank_correlation: float = Field(0.3, ge=-1, le=1)
    min_stability: float = Field(0.8, ge=-1, le=1)
    max_recall_loss: float = Field(0.05, ge=0, le=1)
    max_scenario_recall_loss: float = Field(0.25, ge=0, le=1)
    max_false_alarm_rise: float = Field(0.1, ge=0, le=1)
    max_precision_loss: float = Field(0.05, ge=0, le=1)
    min_feedback: int = Field(20, ge=1)


class DriftSettings(Section):
    """When behaviour is no longer what the champion learned; see training.drift."""

    hours: int = Field(24, ge=1)
    max_psi: float = Field(0.25, gt=0)
    max_distance: float = Field(0.15, gt=0, le=1)
    max_flag_rate_factor: float = Field(3.0, gt=1)
    max_drifted_share: float = Field(0.25, gt=0, le=1)
    min_rows: int = Field(200, ge=10)


class ScoreSettings(Section):
    """Scoring."""

    max_reasons: int = Field(3, ge=1)
    shadow: bool = False


def _address(secret: SecretStr) -> SecretStr:
    if not re.match(r"https?://[^/\s]+\S*$", secret.get_secret_value()):
        raise ValueError("needed: an address such as https://host/path (it is not shown: it may be a secret)")
    return secret


class AlertSettings(Section):
    """Alerts: when they are revised, whom they are sent to, and how they weigh together."""

    poll_seconds: float = Field(2, gt=0)
    worse_by: float = Field(0.01, ge=0)
    remember_hours: int = Field(48, ge=1)
    kafka: bool = True
    webhook: Annotated[SecretStr, AfterValidator(_address)] | None = Field(
        None,
        description="address that every revision is posted to: often a secret by itself, so not for conf/",
    )
    webhook_token: SecretStr | None = Field(None, description="sent as Authorization: Bearer")
    webhook_attempts: int = Field(6, ge=1)
    webhook_seconds: float = Field(5, gt=0)
    risk_half_life_days: float = Field(3, gt=0)
    risk_half_points: float = Field(10, gt=0)
    risk_days: int = Field(30, ge=1)


class StreamSettings(Section):
    """Micro-batches."""

    trigger: str = "0 seconds"
    max_files_per_trigger: int = Field(1000, ge=1)
    fenced: bool = True


class PatternSettings(Section):
    """What mine_patterns looks for, and how much it holds in memory."""

    reports: str
    time_zone: str = "UTC"
    ignored_actions: tuple[str, ...] = ("asset",)
    min_support: float = Field(0.02, gt=0, le=1)
    longest_path: int = Field(4, ge=2, le=10)
    longest_walk: int = Field(50, ge=2, le=1000)
    least_users: int = Field(3, ge=1)
    max_patterns: int = Field(50, ge=1)
    max_kinds: int = Field(30, ge=2, le=200)
    max_segments: int = Field(7, ge=2, le=20)
    max_sessions: int = Field(100_000, ge=100)
    max_learned: int = Field(20_000, ge=100)
    max_pages: int = Field(100_000, ge=100)
    examples: int = Field(3, ge=0, le=20)
    trend_days: int = Field(14, ge=1)
    seed: int = Field(17, ge=0)

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        if name not in available_timezones():
            raise ValueError(f"{name!r} is no time zone; needed: a name such as UTC or Europe/Berlin")
        return name


class MaintenanceSettings(Section):
    """What maintain_tables may fold, drop and delete, and how patient erase_user is."""

    fold_after_minutes: int = Field(60, ge=0)
    keep_revisions_hours: int = Field(24, ge=0)
    target_file_mb: int = Field(128, ge=1)
    vacuum_hours: int = Field(168, ge=24)
    conflict_retries: int = Field(20, ge=0)
    erase_wait_seconds: int = Field(300, ge=0)
    erase_from_kafka: Literal["nothing", "alerts", "all"] = "alerts"


class MetricsSettings(Section):
    """Where a streaming job answers Prometheus."""

    host: str = "127.0.0.1"
    port: int = Field(0, ge=0, le=65_535)


class LogSettings(Section):
    """How log lines look."""

    format: Literal["text", "json"] = "text"


Origin = Annotated[str, Field(pattern=r"^(\*|https?://[^/\s]+)$")]


class ServingSettings(Section):
    """The server: where it listens, who may ask, how much it takes and how long it waits."""

    host: str = "127.0.0.1"
    port: int = Field(5000, ge=0, le=65_535)
    allowed_hosts: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    max_connections: int = Field(512, ge=1)
    max_connections_per_address: int = Field(128, ge=1)
    max_body_bytes: int = Field(1_048_576, ge=1024)
    max_rows: int = Field(5000, ge=1)
    rate_per_second: float = Field(1000, gt=0)
    burst: int = Field(2000, ge=1)
    read_seconds: float = Field(10, gt=0)
    answer_seconds: float = Field(10, gt=0)
    follow_seconds: float = Field(2, ge=0.1)
    look_back_days: int = Field(7, ge=1)


class CollectorSettings(Section):
    """The endpoint ``POST /events``: which pages may send, and how much it takes."""

    public: bool = False
    allowed_origins: tuple[Origin, ...] = ()
    max_body_bytes: int = Field(1_048_576, ge=1024)
    max_events: int = Field(500, ge=1)
    rate_per_second: float = Field(200, gt=0)
    burst: int = Field(1000, ge=1)
    read_seconds: float = Field(10, gt=0)
    acknowledge_seconds: float = Field(5, ge=0.1)
    max_in_flight: int = Field(10_000, ge=1)

    @model_validator(mode="after")
    def _can_be_sent(self) -> CollectorSettings:
        for name in ("burst", "max_in_flight"):
            if getattr(self, name) < self.max_events:
                raise ValueError(f"{name} must be at least max_events, or the longest batch could never be sent")
        return self


class AuditSettings(Section):
    """Table ``audit``: who did what at the server."""

    addresses: Literal["network", "full", "none"] = "network"
    flush_seconds: float = Field(5, gt=0)
    most_refusals: int = Field(100, ge=1)


HttpAddress = Annotated[str, Field(pattern=r"^https?://[^/\s?#]+[^\s?#]*$")]


class OidcSettings(Section):
    """Signing in to the page with OpenID Connect; off while there is no issuer."""

    issuer: HttpAddress | None = None
    client_id: str | None = None
    client_secret: SecretStr | None = Field(None, description="of the client; it signs the sessions' cookies, too")
    url: HttpAddress | None = None
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    role_claim: str = "groups"
    readers: tuple[str, ...] = ()
    analysts: tuple[str, ...] = ()
    session_minutes: int = Field(480, ge=1)

    @model_validator(mode="after")
    def _whole(self) -> OidcSettings:
        if self.issuer is None:
            return self
        needs = {
            "client_id": self.client_id,
            "url, the page's own address as browsers know it": self.url,
            "readers or analysts, the values of role_claim that let people in": self.readers or self.analysts,
        }
        missing = [name for name, value in needs.items() if not value]
        if missing:
            raise ValueError(f"issuer is set; it needs {'; '.join(missing)}")
        if "openid" not in self.scopes:
            raise ValueError("scopes must have openid")
        return self


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
    stream: StreamSettings
    patterns: PatternSettings
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


def _has_offset(text: str) -> bool:
    """Whether it is a time with an offset; ValueError where it is no time."""
    return datetime.fromisoformat(text).tzinfo is not None


def configuration_folder() -> Traversable:
    """``BEHAVIOR_CONF_DIR``, else ``conf/`` of the working folder, else the one beside the code, in the zip too."""
    named = os.environ.get("BEHAVIOR_CONF_DIR")
    beside: Traversable = zipfile.Path(PROJECT) if zipfile.is_zipfile(PROJECT) else PROJECT
    for folder in [Path(named)] if named else [Path.cwd() / "conf", beside.joinpath("conf")]:
        if folder.joinpath("base.yaml").is_file():
            return folder
    raise ConfigurationError(
        f"No base.yaml in {named or 'conf/ of the working folder or of the code'}. "
        "Run from the project's folder or set BEHAVIOR_CONF_DIR to the folder that holds base.yaml."
    )


def load_settings(env: str, overrides: Iterable[str] = ()) -> Settings:
    """Read the settings of environment ``env`` with ``section.key=value`` overrides.

    What they say of an object store is put into this process's environment, where its clients look.

    Raises:
        ConfigurationError: a file or key is unknown, or a value cannot be taken; says what was found and needed.
    """
    folder = configuration_folder()
    if not folder.joinpath(f"{env}.yaml").is_file():
        files = [path.name.removesuffix(".yaml") for path in folder.iterdir() if path.name.endswith(".yaml")]
        known = sorted(name for name in files if name != "base")
        raise ConfigurationError(
            f"Unknown environment {env!r}: {folder} has {', '.join(known)}. Choose one with --env."
        )
    values = _merge(_read(folder.joinpath("base.yaml")), _read(folder.joinpath(f"{env}.yaml")))

    class Loaded(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, InitSettingsSource(settings_cls, values)

    try:
        loaded = Loaded(**_merge({"env": env}, _parse_overrides(overrides)))
    except ValidationError as error:
        raise ConfigurationError(_explain(error)) from None
    except SettingsError as error:
        # Of its words only the field's name: the value may hold a password.
        found = re.search(r'field "(\w+)"', str(error))
        name = f"BEHAVIOR_{found[1].upper()}" if found else "BEHAVIOR_…"
        raise ConfigurationError(
            f"The environment variable {name} (or {name}__…) cannot be read: lists and sections are JSON there."
        ) from None
    object_store.prepare(loaded.s3)
    return loaded


def local_overrides(local: Path) -> list[str]:
    """Settings that keep everything of a run under ``local``."""
    place = local.resolve()
    return [
        f"storage.root={json.dumps(str(place / 'lake'))}",
        f"storage.checkpoints={json.dumps(str(place / 'checkpoints'))}",
        f"model.tracking_uri={json.dumps(f'sqlite:///{place}/mlflow.db')}",
        f"patterns.reports={json.dumps(str(place / 'reports'))}",
    ]


def _read(path: Traversable) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path} is not valid YAML: {_yaml_fault(error)}.") from None
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path} must hold sections with keys, found {type(content).__name__}.")
    return content


def _yaml_fault(error: yaml.YAMLError) -> str:
    """What is wrong and where, without the line itself, which may hold a secret."""
    mark = getattr(error, "problem_mark", None)
    where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
    return f"{getattr(error, 'problem', None) or type(error).__name__}{where}"


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _parse_overrides(overrides: Iterable[str]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for text in overrides:
        name, equals, value = text.partition("=")
        parts = name.strip().split(".")
        if not equals or not all(parts) or len(parts) < 2:
            shown = name if re.fullmatch(r"[a-z0-9_.]{1,60}", name) else "…"
            raise ConfigurationError(
                f"--set {shown}{equals and '=…'}: needed section.key=value, for example --set kafka.topic=clicks."
            )
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigurationError(
                f"--set {name}: the value is not valid YAML: {_yaml_fault(error)}. Put it in quotes."
            ) from None
        if isinstance(parsed, datetime):
            parsed = value
        for part in reversed(parts):
            parsed = {part: parsed}
        result = _merge(result, parsed)
    return result


def _explain(error: ValidationError) -> str:
    sentences = []
    for problem in error.errors(include_url=False):
        key = ".".join(str(part) for part in problem["loc"]) or "settings"
        if problem["type"] == "extra_forbidden":
            sentences.append(f"Unknown setting {key}: see conf/base.yaml for the known ones.")
        elif problem["type"] == "missing":
            sentences.append(f"Setting {key} is missing: give it in conf/ or with --set {key}=….")
        else:
            found = f" (found {problem['input']!r})" if may_be_told(problem["loc"]) else ""
            sentences.append(f"Setting {key}: {problem['msg']}{found}.")
    return " ".join(sentences)


SECRETIVE = re.compile(r"password|token|secret|key|webhook|ur[il]$|endpoint|servers|options|conf$")
"""Settings whose values may hold a secret: addresses, too, for a login can be written into one."""


def may_be_told(place: Sequence[str | int]) -> bool:
    """Whether an error may quote the value at this place: of a known setting only, and of none that may be a secret."""
    kind: Any = Settings
    for name in place:
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return True  # a part of a list or of a choice
        if name not in kind.model_fields or SECRETIVE.search(str(name)):
            return False
        kind = kind.model_fields[str(name)].annotation
        if "SecretStr" in str(kind):
            return False
    return not (isinstance(kind, type) and issubclass(kind, BaseModel))
