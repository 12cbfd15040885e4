"""The keys of the server: when there must be some, whose each is, and how they change while the server runs.

A key is one token in the environment (``BEHAVIOR_READER_TOKEN``), and any number of them in a file, one a line, with a
name before it or not (``BEHAVIOR_READER_TOKEN_FILE``). The file is read again when it changes: to rotate, add the new
line, give the new token out, take the old line away. Only SHA-256 hashes of tokens are kept in memory.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from features.errors import ConfigurationError
from serving.access.roles import MAY, Role
from settings import Settings

log = logging.getLogger(__name__)

MIN_TOKEN = 16
"""Characters of a token."""
LOOK_SECONDS = 1.0
"""The files are looked at so often, at most."""
VARIABLES = {
    Role.ALL: "BEHAVIOR_API_TOKEN",
    Role.ANALYST: "BEHAVIOR_ANALYST_TOKEN",
    Role.READER: "BEHAVIOR_READER_TOKEN",
    Role.SENDER: "BEHAVIOR_SENDER_TOKEN",
}
HOW_TO = "Make one with python -c 'import secrets; print(secrets.token_urlsafe(32))'."
FORWARDED = frozenset(
    {b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip"}
)
"""Headers that proxies add."""


@dataclass(frozen=True)
class Who:
    """Who asks: the key's name or the provider's subject of who signed in, and what they may."""

    name: str
    may: frozenset[Role]
    signed_in_as: str | None = None
    """What people call who has signed in."""


NOBODY = Who("nobody", frozenset({Role.PUBLIC}))
LOCAL_USER = Who("this machine", MAY[Role.ALL])
"""Whoever asks a server that only this machine can reach, and that has no keys."""


@dataclass(frozen=True)
class Key:
    """A token's SHA-256, and who holds it."""

    digest: bytes
    who: Who


def why_keys_are_needed(settings: Settings) -> str | None:
    """The setting by which others than this machine's users can reach the server; None where there is none.

    The one rule: the loopback address alone keeps nobody out as soon as a reverse proxy stands before it, and each of
    these settings is for a server with others before it.
    """
    host = settings.serving.host
    if not is_loopback(host):
        return f"serving.host is {host}, which others can reach"
    for name in ("trusted_proxies", "allowed_hosts"):
        values = getattr(settings.serving, name)
        if name == "trusted_proxies" and values:
            return f"serving.trusted_proxies is {', '.join(values)}, so others reach the server through a proxy"
        others = [value for value in values if not is_loopback(value)]
        if others:
            return f"serving.allowed_hosts has {', '.join(others)}, a name by which others ask the server"
    if settings.collector.public:
        return "collector.public is true, so others than this machine's users send events"
    if settings.oidc.issuer is not None:
        return "oidc.issuer is set, so people sign in to the server"
    return None


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address; a name other than localhost may mean anything."""
    try:
        return ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host.lower().rstrip(".") in ("localhost", "ip6-localhost")


@dataclass
class Keys:
    """The keys of the settings and of their files.

    Raises:
        ConfigurationError: others can reach the server and there is no key; a token is too short, or is two roles';
            a file cannot be read.
    """

    settings: Settings
    clock: Callable[[], float] = time.monotonic
    is_demanded: bool = field(init=False)
    """Whether somebody who has no key is refused; fixed when the server starts, whatever becomes of the files."""
    _keys: tuple[Key, ...] = ()
    _seen: dict[str, object] = field(default_factory=dict)
    _looked_at: float = 0.0

    def __post_init__(self) -> None:
        self._keys, wrong = self._read()
        if wrong:
            raise ConfigurationError(" ".join(wrong))
        signs_in = self.settings.oidc.issuer is not None
        self.is_demanded = bool(self._keys) or signs_in or bool(self._files())
        why = why_keys_are_needed(self.settings)
        if why is not None and not self._keys and not signs_in:
            variables = ", ".join(f"{name} ({role})" for role, name in VARIABLES.items())
            raise ConfigurationError(
                f"{why}, and there is no key: set one or more of the environment variables {variables}, each to a long "
                f"random text of its own. {HOW_TO} Or leave serving.host, serving.trusted_proxies, "
                "serving.allowed_hosts and collector.public as conf/base.yaml has them, for this machine alone."
            )

    def who(self, token: bytes) -> Who | None:
        """Whose token it is; None: nobody's. Takes as long for every token."""
        self._look()
        digest, who = hashlib.sha256(token).digest(), None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                who = key.who
        return who

    def _files(self) -> list[tuple[Role, str]]:
        named = ((role, getattr(self.settings, _field(role) + "_file")) for role in VARIABLES)
        return [(role, path) for role, path in named if path]

    def _look(self) -> None:
        """Read the files again where one has changed. What cannot be taken is left out, and logged."""
        now = self.clock()
        if now - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = now
        if any(_state(path) != self._seen.get(path) for _, path in self._files()):
            self._keys, wrong = self._read()
            log.info("The keys of the server were read again: %d are valid now", len(self._keys))
            for sentence in wrong:
                log.error("%s", sentence)

    def _read(self) -> tuple[tuple[Key, ...], list[str]]:
        keys: dict[bytes, Key] = {}
        wrong: list[str] = []
        for role, place, name, token in self._tokens(wrong):
            key = Key(hashlib.sha256(token.encode()).digest(), Who(name, MAY[role]))
            if len(token) < MIN_TOKEN:
                wrong.append(f"{place} has {len(token)} characters, needed: at least {MIN_TOKEN}. {HOW_TO}")
            elif key.digest in keys and keys[key.digest].who.may != key.who.may:
                wrong.append(f"{place} is the same as a key of another role: give each role a token of its own.")
            else:
                keys.setdefault(key.digest, key)
        return tuple(keys.values()), wrong

    def _tokens(self, wrong: list[str]) -> Iterator[tuple[Role, str, str, str]]:
        """Role, place, name and token of each key there is; never in a sentence: the token."""
        for role, variable in VARIABLES.items():
            secret = getattr(self.settings, _field(role))
            if secret is not None:
                yield role, variable, role.value, secret.get_secret_value()
        for role, path in self._files():
            self._seen[path] = _state(path)
            variable = f"{VARIABLES[role]}_FILE"
            try:
                lines = Path(path).read_text(encoding="utf-8").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
                wrong.append(f"{variable}: {path} cannot be read ({why}), so its keys open nothing.")
                continue
            for number, line in enumerate(lines, 1):
                words = line.split()
                if words and not words[0].startswith("#"):
                    place = f"{variable}: line {number} of {path}"
                    if len(words) > 2:
                        wrong.append(f"{place} has {len(words)} words; needed: a token, or a name and a token.")
                    else:
                        yield role, place, words[0] if len(words) == 2 else role.value, words[-1]


def came_by_a_proxy(headers: Iterable[bytes]) -> bool:
    """Whether a proxy has added its headers: then others than this machine's users may be behind it."""
    return not FORWARDED.isdisjoint(headers)


def _field(role: Role) -> str:
    return VARIABLES[role].removeprefix("BEHAVIOR_").lower()


def _state(path: str) -> object:
    """Something that changes with the file; a link is followed, as secrets of Kubernetes are changed by moving one."""
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev
