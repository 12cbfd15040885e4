"""Each column of tiles that counts events, once. Schema, folding, merging and the kernel follow this list."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Count:
    """A sum over events: of all of them, or of those with one ``action``."""

    name: str
    action: str | None = None

    @property
    def meaning(self) -> str:
        return "events (sum)" if self.action is None else f"events with action {self.action} (sum)"


COUNTS = (
    Count(name="events"),
    Count(name="clicks", action="click"),
    Count(name="views", action="view"),
    Count(name="interactions", action="interaction"),
)
COUNT_NAMES = tuple(count.name for count in COUNTS)
