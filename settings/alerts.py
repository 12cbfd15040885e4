"""Alerts, and where they are sent."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from settings.section import Section


def _address(secret: SecretStr) -> SecretStr:
    if not re.match(r"https?://[^/\s]+\S*$", secret.get_secret_value()):
        raise ValueError("needed: an address such as https://host/path (it is not shown: it may be a secret)")
    return secret


HttpSecret = Annotated[SecretStr, AfterValidator(_address)]


class AlertSettings(Section):
    """Alerts: when they are revised, whom they are sent to, and how they weigh together."""

    by_pipeline: bool = True
    poll_seconds: float = Field(2, gt=0)
    worse_by: float = Field(0.01, ge=0)
    remember_hours: int = Field(48, ge=1)
    sinks: tuple[str, ...] | None = None
    kafka: bool = True
    webhook: HttpSecret | None = Field(
        None,
        description="address that every revision is posted to: often a secret by itself, so not for conf/",
    )
    webhook_token: SecretStr | None = Field(None, description="sent as Authorization: Bearer")
    webhook_secret: SecretStr | None = Field(None, description="signs what is posted: X-Behavior-Signature")
    webhook_attempts: int = Field(6, ge=1)
    webhook_seconds: float = Field(5, gt=0)
    risk_half_life_days: float = Field(3, gt=0)
    risk_half_points: float = Field(10, gt=0)
    risk_days: int = Field(30, ge=1)

    @property
    def sink_names(self) -> tuple[str, ...]:
        """The sinks in use: those that ``sinks`` lists, else kafka and webhook as far as they are switched on."""
        if self.sinks is not None:
            return self.sinks
        switched_on = {"kafka": self.kafka, "webhook": bool(self.webhook)}
        return tuple(name for name, on in switched_on.items() if on)
