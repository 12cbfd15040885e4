"""Whose models the settings trust; apart from the registry, for MLflow takes seconds to import."""

from __future__ import annotations

from registry.trust import Trust
from settings import Settings


def trust_of(settings: Settings) -> Trust:
    """Raises ConfigurationError when a key is none, or the settings contradict each other."""
    key, model = settings.model_key, settings.model
    private = None if key is None else key.get_secret_value()
    return Trust.of(private, model.public_key, required=model.require_signature)
