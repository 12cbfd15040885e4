"""The model registry that the settings name."""

from __future__ import annotations

from jobs.runtime.settings import Settings
from training.registry import Registry


def registry_of(settings: Settings) -> Registry:
    model = settings.model
    return Registry(model.name, model.tracking_uri, model.experiment, strict_libraries=model.strict_libraries)
