"""Training, gates, drift and the mining of patterns."""

from __future__ import annotations

from zoneinfo import available_timezones

from pydantic import Field, field_validator

from settings.section import Section


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
