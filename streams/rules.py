"""What the settings say of records and sessions, as the rules that streams, batch jobs and the server go by."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path

from features.behavior import SessionRules
from features.errors import ConfigurationError
from features.events import Decoder, ValidationRules
from features.schemas.mapping import EventMapping, mapping_of
from features.schemas.packing import Unpacking
from features.schemas.shipped import SHIPPED
from settings import IngestSettings, Settings
from streams.schema_registry import SchemaRegistry


def validation_rules(ingest: IngestSettings) -> ValidationRules:
    return ValidationRules(
        max_bytes=ingest.max_bytes,
        max_batch_bytes=ingest.max_batch_bytes,
        max_depth=ingest.max_depth,
        oldest=ingest.oldest,
        max_future_seconds=ingest.max_future_seconds,
        max_late_seconds=ingest.max_late_seconds,
        decoders=tuple(_decoders(ingest)),
        mappings={source: known_mapping(source, one) for source, one in ingest.mappings.items()},
    )


def _decoders(ingest: IngestSettings) -> Iterator[Decoder]:
    if ingest.unpack:
        yield Unpacking(ingest.unpack, ingest.max_batch_bytes)
    if ingest.schema_registry_url is not None:
        password = ingest.schema_registry_password
        yield SchemaRegistry(
            ingest.schema_registry_url,
            ingest.schema_registry_username,
            None if password is None else password.get_secret_value(),
            _authorities(ingest.schema_registry_ca_file),
            ingest.schema_registry_away_seconds,
        )


def _authorities(file: str | None) -> str | None:
    """The certificates in a file: read here, so that workers elsewhere need none.

    Raises:
        ConfigurationError: it has none.
    """
    if file is None:
        return None
    try:
        text = Path(file).read_text(encoding="utf-8")
        ssl.create_default_context(cadata=text)
    except (OSError, ValueError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"ingest.schema_registry_ca_file is {file}, which has no certificates: {error}."
        ) from None
    return text


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
