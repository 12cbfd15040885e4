"""The online view: where the server finds one person at once."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr

from settings.section import Section


class OnlineSettings(Section):
    """What is kept by person beside the tables, and in which store."""

    store: Literal["none", "sqlite", "redis"] = "none"
    path: str | None = None
    redis_url: SecretStr | None = Field(None, description="redis://host:6379/0, or rediss:// with TLS")
