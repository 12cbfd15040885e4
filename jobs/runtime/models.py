"""The model registry that the settings name."""

from __future__ import annotations

from jobs.runtime.model_keys import trust_of
from jobs.runtime.settings import Settings
from training.registry import Registry


def registry_of(settings: Settings) -> Registry:
    """Raises ConfigurationError when a key in the settings is none."""
    model = settings.model
    return Registry(
        model.name,
        model.tracking_uri,
        model.experiment,
        strict_libraries=model.strict_libraries,
        trust=trust_of(settings),
    )
