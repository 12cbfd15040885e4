"""The store of the online view that the settings name."""

from __future__ import annotations

from features.errors import ConfigurationError
from online.redis_store import RedisStore
from online.sqlite_store import SqliteStore
from online.store import Store
from settings import Settings


def store_of(settings: Settings, *, read_only: bool = False) -> Store | None:
    """The store that ``online.store`` names; None where there is to be none.

    Raises:
        ConfigurationError: it lacks a setting.
        EnvironmentProblem: it cannot be opened.
    """
    chosen = settings.online
    if chosen.store == "sqlite":
        return SqliteStore(settings.online_path, read_only=read_only)
    if chosen.store == "redis":
        if chosen.redis_url is None:
            raise ConfigurationError(
                "online.store is redis, and BEHAVIOR_ONLINE__REDIS_URL is not set. Set it to an address such as "
                "redis://host:6379/0 (or rediss:// with TLS); it may hold a password, so it does not belong in conf/."
            )
        return RedisStore(chosen.redis_url.get_secret_value())
    return None
