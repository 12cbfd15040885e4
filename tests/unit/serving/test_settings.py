"""Settings with which the collector could not work."""

from __future__ import annotations

import pytest

from features.errors import ConfigurationError
from settings import load_settings


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("collector.max_events=5000", "burst must be at least max_events"),
        ("collector.max_in_flight=10", "max_in_flight must be at least max_events"),
        ("collector.allowed_origins=[shop.example]", "collector.allowed_origins"),
        ("collector.nonsense=1", "Unknown setting collector.nonsense"),
    ],
)
def test_settings_that_cannot_work_are_refused(override: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        load_settings("local", [override])
