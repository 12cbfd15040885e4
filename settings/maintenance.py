"""Maintenance and erasure of tables."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from settings.section import Section


class MaintenanceSettings(Section):
    """What maintain_tables may fold, drop and delete, and how patient erase_user is."""

    fold_after_minutes: int = Field(60, ge=0)
    keep_revisions_hours: int = Field(24, ge=0)
    target_file_mb: int = Field(128, ge=1)
    vacuum_hours: int = Field(168, ge=24)
    conflict_retries: int = Field(20, ge=0)
    erase_wait_seconds: int = Field(300, ge=0)
    erase_from_kafka: Literal["nothing", "alerts", "all"] = "alerts"
