"""Funnels that are counted by name."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from settings.section import Section

Alternatives = Annotated[tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)]
"""One value, or a list of which any will do."""


class StepSettings(Section):
    """What an event must have; what is left out may be anything."""

    name: str | None = None
    action: Alternatives = ()
    page: Alternatives = ()
    outcome: Alternatives = ()

    @model_validator(mode="after")
    def _says_something(self) -> StepSettings:
        if not (self.action or self.page or self.outcome):
            raise ValueError("found no action, page or outcome; needed: one of them")
        return self


class FunnelSettings(Section):
    """Steps, and how long after the first one the last one counts; without ``within_minutes``, in the same session."""

    steps: tuple[StepSettings, ...] = Field(min_length=2, max_length=12)
    within_minutes: float | None = Field(None, gt=0)
    in_order: bool = True


class JourneySettings(Section):
    """What count_journeys and the API know by name."""

    funnels: dict[str, FunnelSettings] = Field(default_factory=dict)
    days: int = Field(7, ge=1)
