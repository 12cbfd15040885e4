"""The model registry that the settings name."""

from __future__ import annotations

from registry.mlflow_registry import Registry
from registry.trusted_keys import trust_of
from settings import Settings


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
