"""What the settings say of records and sessions, as the rules that streams, batch jobs and the server go by."""

from __future__ import annotations

from features.behavior import SessionRules
from features.events import ValidationRules
from settings import IngestSettings, Settings


def validation_rules(ingest: IngestSettings) -> ValidationRules:
    return ValidationRules(
        max_bytes=ingest.max_bytes,
        max_depth=ingest.max_depth,
        oldest=ingest.oldest,
        max_future_seconds=ingest.max_future_seconds,
        max_late_seconds=ingest.max_late_seconds,
    )


def session_rules(settings: Settings) -> SessionRules:
    chosen = settings.features
    return SessionRules(chosen.session_gap_minutes, chosen.session_max_minutes, chosen.own_past_minutes)
