"""What a sink of alerts is, and an alert as receivers get it."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from pydantic import SecretStr

from features.errors import ConfigurationError
from settings import Settings

Row = dict[str, Any]
"""A row of table ``alerts``."""


class AlertSink(ABC):
    """Sends alerts to one receiver. A thread of its own calls :meth:`send`, again and again, never twice at a time."""

    from_start: ClassVar[bool] = False
    """Whether a receiver that is new gets the alerts that are there already."""
    max_rows: ClassVar[int] = 1000
    """Revisions that one call is given, unless one commit has more: a commit is never parted."""
    pause_seconds: float = 0
    """How long a delivery lets alerts come together after each call of :meth:`send`."""

    def __init__(self, settings: Settings) -> None:
        """Raises ConfigurationError where a setting that the sink needs is missing; connects nowhere yet."""
        self.settings = settings

    @abstractmethod
    def send(self, rows: Sequence[Row]) -> int:
        """Deliver revisions, in the order in which they were written; returns how many were given up.

        Raises:
            EnvironmentProblem: all of these rows should be sent again later.
        """


def needed(sink: str, name: str, value: str | None, place: str | None = None) -> str:
    """The value of ``sinks.NAME``; ``place`` is where it is set, if elsewhere.

    Raises:
        ConfigurationError: there is none.
    """
    if value is None:
        raise ConfigurationError(
            f"Setting alerts.sinks: found {sink}, and no sinks.{name}. Set {place or f'sinks.{name}'}, or leave {sink} "
            "out of alerts.sinks."
        )
    return value


def needed_secret(sink: str, name: str, value: SecretStr | None) -> str:
    """:func:`needed` of a secret, which is ``BEHAVIOR_SINKS__NAME``."""
    return needed(sink, name, None if value is None else value.get_secret_value(), f"BEHAVIOR_SINKS__{name.upper()}")


def alert_json(row: Row) -> bytes:
    """An alert as receivers get it: JSON in UTF-8, times in ISO-8601, without the batch's columns."""
    shown = {name: _plain(value) for name, value in row.items() if name not in ("batch_time", "batch_id")}
    return json.dumps(shown, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def _plain(value: object) -> object:
    return text_of(value) if isinstance(value, datetime) else value


def text_of(moment: datetime) -> str:
    """ISO 8601 in UTC, with Z."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def millis_of(moment: datetime) -> int:
    """Milliseconds since 1970."""
    return round(moment.timestamp() * 1000)
