"""What the settings say of records and sessions, as the rules that streams, batch jobs and the server go by."""

from __future__ import annotations

from collections.abc import Mapping

from features.behavior import SessionRules
from features.errors import ConfigurationError
from features.events import ValidationRules
from features.mapping import EventMapping, mapping_of
from features.shipped_mappings import SHIPPED
from settings import IngestSettings, Settings


def validation_rules(ingest: IngestSettings) -> ValidationRules:
    return ValidationRules(
        max_bytes=ingest.max_bytes,
        max_depth=ingest.max_depth,
        oldest=ingest.oldest,
        max_future_seconds=ingest.max_future_seconds,
        max_late_seconds=ingest.max_late_seconds,
        mappings={source: known_mapping(source, one) for source, one in ingest.mappings.items()},
    )


def known_mapping(source: str, chosen: str | Mapping[str, object]) -> EventMapping:
    """A mapping that is shipped, by its name, or one of the settings' own.

    Raises:
        ConfigurationError: there is none of this name, or something in it is not known.
    """
    if not isinstance(chosen, str):
        return mapping_of(source, chosen)
    if chosen not in SHIPPED:
        raise ConfigurationError(f"ingest.mappings.{source} is {chosen!r}; there are {', '.join(SHIPPED)}.")
    return mapping_of(chosen, SHIPPED[chosen])


def session_rules(settings: Settings) -> SessionRules:
    chosen = settings.features
    return SessionRules(chosen.session_gap_minutes, chosen.session_max_minutes, chosen.own_past_minutes)
