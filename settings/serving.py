"""The HTTP server: prediction, page, collector, audit and signing in."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr, model_validator

from settings.section import Section

Origin = Annotated[str, Field(pattern=r"^(\*|https?://[^/\s]+)$")]


class ServingSettings(Section):
    """The server: where it listens, who may ask, how much it takes and how long it waits."""

    host: str = "127.0.0.1"
    port: int = Field(5000, ge=0, le=65_535)
    allowed_hosts: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    max_connections: int = Field(512, ge=1)
    max_connections_per_address: int = Field(128, ge=1)
    max_body_bytes: int = Field(1_048_576, ge=1024)
    max_rows: int = Field(5000, ge=1)
    rate_per_second: float = Field(1000, gt=0)
    burst: int = Field(2000, ge=1)
    read_seconds: float = Field(10, gt=0)
    answer_seconds: float = Field(10, gt=0)
    follow_seconds: float = Field(2, ge=0.1)
    look_back_days: int = Field(7, ge=1)


class CollectorSettings(Section):
    """The endpoint ``POST /events``: which pages may send, and how much it takes."""

    public: bool = False
    allowed_origins: tuple[Origin, ...] = ()
    add_context: bool = False
    mappings: dict[str, str] = Field(default_factory=dict)
    max_body_bytes: int = Field(1_048_576, ge=1024)
    max_events: int = Field(500, ge=1)
    rate_per_second: float = Field(200, gt=0)
    burst: int = Field(1000, ge=1)
    read_seconds: float = Field(10, gt=0)
    acknowledge_seconds: float = Field(5, ge=0.1)
    max_in_flight: int = Field(10_000, ge=1)

    @model_validator(mode="after")
    def _can_be_sent(self) -> CollectorSettings:
        for name in ("burst", "max_in_flight"):
            if getattr(self, name) < self.max_events:
                raise ValueError(f"{name} must be at least max_events, or the longest batch could never be sent")
        return self


class AuditSettings(Section):
    """Table ``audit``: who did what at the server."""

    addresses: Literal["network", "full", "none"] = "network"
    flush_seconds: float = Field(5, gt=0)
    most_refusals: int = Field(100, ge=1)


HttpAddress = Annotated[str, Field(pattern=r"^https?://[^/\s?#]+[^\s?#]*$")]


class OidcSettings(Section):
    """Signing in to the page with OpenID Connect; off while there is no issuer."""

    issuer: HttpAddress | None = None
    client_id: str | None = None
    client_secret: SecretStr | None = Field(None, description="of the client; it signs the sessions' cookies, too")
    url: HttpAddress | None = None
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    role_claim: str = "groups"
    readers: tuple[str, ...] = ()
    analysts: tuple[str, ...] = ()
    session_minutes: int = Field(480, ge=1)

    @model_validator(mode="after")
    def _whole(self) -> OidcSettings:
        if self.issuer is None:
            return self
        needs = {
            "client_id": self.client_id,
            "url, the page's own address as browsers know it": self.url,
            "readers or analysts, the values of role_claim that let people in": self.readers or self.analysts,
        }
        missing = [name for name, value in needs.items() if not value]
        if missing:
            raise ValueError(f"issuer is set; it needs {'; '.join(missing)}")
        if "openid" not in self.scopes:
            raise ValueError("scopes must have openid")
        return self
