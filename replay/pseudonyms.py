"""Pseudonyms of visitors, made under a secret key."""

from __future__ import annotations

import hmac
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

from features.errors import ConfigurationError

KEY_VARIABLE = "BEHAVIOR_PSEUDONYM_KEY"
KEY_FILE = Path(".local/pseudonym.key")
MIN_KEY = 16
MAX_CACHED = 200_000


class Pseudonyms:
    """Gives whom an address, say, identifies the same pseudonym each time; ``key`` is the secret that makes them."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._users: dict[bytes, str] = {}

    def of(self, identity: bytes) -> str:
        """The pseudonym: 64 bits of HMAC-SHA-256 in hex."""
        user = self._users.get(identity)
        if user is None:
            if len(self._users) >= MAX_CACHED:
                self._users.clear()
            user = self._users[identity] = "u" + hmac.digest(self._key, identity, "sha256").hex()[:16]
        return user


def pseudonym_key(file: Path = KEY_FILE) -> bytes:
    """The key from the environment (BEHAVIOR_PSEUDONYM_KEY), else from ``file``, which is made where it is not there.

    Under one key a visitor keeps the pseudonym in every file; without the key nobody can compute it from an address.

    Raises:
        ConfigurationError: the key is too short to be a secret, or others can read the file.
    """
    if (given := os.environ.get(KEY_VARIABLE)) is not None:
        return _long_enough(given.encode(), KEY_VARIABLE)
    if not file.exists():
        _make_key(file)
    mode = stat.S_IMODE(file.stat().st_mode)
    if mode & 0o077:
        raise ConfigurationError(f"{file} holds a secret key and others can read it (mode {mode:o}): chmod 600 {file}")
    return _long_enough(file.read_bytes().strip(), str(file))


def _make_key(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=file.parent, prefix=file.name) as draft:  # made with mode 600
        draft.write(secrets.token_hex(32).encode())
        draft.flush()
        with suppress(FileExistsError):  # another process was first: its key is the one
            os.link(draft.name, file)


def _long_enough(key: bytes, source: str) -> bytes:
    if len(key) < MIN_KEY:
        raise ConfigurationError(
            f"The pseudonym key in {source} has {len(key)} characters and needs at least {MIN_KEY}: "
            "take a random one, such as `openssl rand -hex 32` prints."
        )
    return key
